//! A value between the pixels of one channel.

/// Rows and columns of one channel.
#[derive(Clone, Copy)]
pub(super) struct Channel<'a> {
    pub(super) values: &'a [f32],
    pub(super) height: usize,
    pub(super) width: usize,
}

/// The four pixels around a place and their weights: `[upper left, upper right, lower left, lower
/// right]`.
pub(super) struct Corners {
    pub(super) rows: [usize; 2],
    pub(super) columns: [usize; 2],
    pub(super) weights: [f32; 4],
}

impl Corners {
    /// Of a place inside `0..=height - 1` by `0..=width - 1`.
    pub(super) fn inside(y: f32, x: f32, height: usize, width: usize) -> Corners {
        let (top, left) = ((y as usize).min(height - 1), (x as usize).min(width - 1));
        let (down, right) = (y - top as f32, x - left as f32);
        Corners {
            rows: [top, (top + 1).min(height - 1)],
            columns: [left, (left + 1).min(width - 1)],
            weights: [
                (1.0 - down) * (1.0 - right),
                (1.0 - down) * right,
                down * (1.0 - right),
                down * right,
            ],
        }
    }

    /// The four weighted pixels.
    pub(super) fn of(&self, channel: Channel<'_>) -> [f32; 4] {
        let at = |row: usize, column: usize| {
            channel.values[self.rows[row] * channel.width + self.columns[column]]
        };
        let pixels = [at(0, 0), at(0, 1), at(1, 0), at(1, 1)];
        std::array::from_fn(|corner| pixels[corner] * self.weights[corner])
    }
}

impl Channel<'_> {
    /// The value at a place, with zeros around the channel.
    pub(super) fn with_zeros_around(self, y: f32, x: f32) -> f32 {
        let (height, width) = (self.height as isize, self.width as isize);
        let is_near = |at: f32, length: isize| at > -1.0 && at < length as f32;
        if !is_near(y, height) || !is_near(x, width) {
            return 0.0;
        }
        let (top, left) = (y.floor(), x.floor());
        let (down, right) = (y - top, x - left);
        let pixel = |row: isize, column: isize| {
            let is_inside = (0..height).contains(&row) && (0..width).contains(&column);
            if is_inside { self.values[(row * width + column) as usize] } else { 0.0 }
        };
        let (row, column) = (top as isize, left as isize);
        (1.0 - down) * (1.0 - right) * pixel(row, column)
            + (1.0 - down) * right * pixel(row, column + 1)
            + down * (1.0 - right) * pixel(row + 1, column)
            + down * right * pixel(row + 1, column + 1)
    }
}
