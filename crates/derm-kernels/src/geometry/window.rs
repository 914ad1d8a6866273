//! One spatial axis of a convolution or a pooling.

use super::error::{GeometryError, checked_len, positive};
use std::ops::Range;

/// A window that slides along one axis: the sizes that [`WindowAxis::new`] checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Input positions.
    pub input: usize,
    /// Output positions.
    pub output: usize,
    /// Kernel positions (taps).
    pub kernel: usize,
    /// Input positions from one output position to the next.
    pub stride: usize,
    /// Input positions from one tap to the next.
    pub dilation: usize,
    /// Padding before the first input position.
    pub before: usize,
}

/// One spatial axis of a convolution or a pooling.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct WindowAxis {
    input: usize,
    output: usize,
    kernel: usize,
    stride: usize,
    dilation: usize,
    before: usize,
    /// Input dilation: distance of input positions, with zeros between them. 1, except in the
    /// backward-data convolution of a strided one (a transposed, or fractionally strided,
    /// convolution).
    spread: usize,
}

impl WindowAxis {
    /// One position, read as it is.
    pub const ONE: WindowAxis = WindowAxis::unchecked_pointwise(1);

    /// Checks the sizes of a window.
    ///
    /// # Errors
    /// If the kernel, stride or dilation is zero, or an index would wrap.
    pub fn new(window: Window) -> Result<WindowAxis, GeometryError> {
        let Window { input, output, kernel, stride, dilation, before } = window;
        let axis = WindowAxis { input, output, kernel, stride, dilation, before, spread: 1 };
        axis.checked()
    }

    /// A kernel of one tap at each of `positions`.
    ///
    /// # Errors
    /// If there are more than can be addressed.
    pub fn pointwise(positions: usize) -> Result<WindowAxis, GeometryError> {
        WindowAxis::unchecked_pointwise(positions).checked()
    }

    pub(super) const fn unchecked_pointwise(positions: usize) -> WindowAxis {
        WindowAxis {
            input: positions,
            output: positions,
            kernel: 1,
            stride: 1,
            dilation: 1,
            before: 0,
            spread: 1,
        }
    }

    fn checked(self) -> Result<WindowAxis, GeometryError> {
        positive(self.kernel, "the kernel")?;
        positive(self.stride, "the stride")?;
        positive(self.dilation, "the dilation")?;
        // The largest position, of the padded input, that any method below computes.
        let reach = checked_len(&[self.kernel - 1, self.dilation])?;
        let outputs = checked_len(&[self.output, self.stride])?;
        let inputs = checked_len(&[self.input, self.spread])?;
        let last = [reach, outputs, inputs, self.before, self.stride];
        let last = last.iter().try_fold(1usize, |sum, &part| sum.checked_add(part));
        last.filter(|&last| last <= isize::MAX as usize).ok_or(GeometryError::TooLarge)?;
        Ok(self)
    }

    /// Input positions.
    #[inline(always)]
    pub const fn input(self) -> usize {
        self.input
    }

    /// Output positions.
    #[inline(always)]
    pub const fn output(self) -> usize {
        self.output
    }

    /// Kernel positions (taps).
    #[inline(always)]
    pub const fn kernel(self) -> usize {
        self.kernel
    }

    /// Input positions from one output position to the next.
    #[inline(always)]
    pub const fn stride(self) -> usize {
        self.stride
    }

    /// Input positions from one tap to the next.
    #[inline(always)]
    pub const fn dilation(self) -> usize {
        self.dilation
    }

    /// Padding before the first input position.
    #[inline(always)]
    pub const fn before(self) -> usize {
        self.before
    }

    /// Input dilation: distance of input positions; more than 1 only where
    /// [`crate::ConvGeometry::transposed`] made it.
    #[inline(always)]
    pub(crate) const fn spread(self) -> usize {
        self.spread
    }

    /// Whether every output position reads its own input position and no other.
    pub fn is_pointwise(self) -> bool {
        self.kernel == 1
            && self.stride == 1
            && self.before == 0
            && self.spread == 1
            && self.input == self.output
    }

    /// The input positions that the output positions `wanted` read, without the padding.
    pub fn needed(self, wanted: &Range<usize>) -> Range<usize> {
        let wanted = wanted.start.min(self.output)..wanted.end.min(self.output);
        let reach = (self.kernel - 1) * self.dilation;
        let first = (wanted.start * self.stride).saturating_sub(self.before);
        let end = (wanted.end * self.stride + reach + 1).saturating_sub(self.stride + self.before);
        let end = end.div_ceil(self.spread).min(self.input);
        (first / self.spread).min(end)..end
    }

    /// The output positions whose taps are all inside the input; none where positions are spread.
    pub(crate) fn inside(self) -> Range<usize> {
        if self.spread != 1 {
            return 0..0;
        }
        let last_tap = (self.kernel - 1) * self.dilation;
        let positions = (self.input + self.before).saturating_sub(last_tap);
        let end = positions.div_ceil(self.stride).min(self.output);
        self.before.div_ceil(self.stride).min(end)..end
    }

    /// The axis of the backward-data convolution: from output to input positions, taps in the
    /// opposite order. None where the padding is wider than the kernel, or for an axis that is
    /// transposed already.
    pub(super) fn transposed(self) -> Option<WindowAxis> {
        if self.spread != 1 {
            return None;
        }
        let axis = WindowAxis {
            input: self.output,
            output: self.input,
            kernel: self.kernel,
            stride: 1,
            dilation: self.dilation,
            before: (self.dilation * (self.kernel - 1)).checked_sub(self.before)?,
            spread: self.stride,
        };
        axis.checked().ok()
    }

    /// The input position under tap `tap` of output position `output`; none in the padding.
    #[inline]
    pub(crate) fn input_index(self, output: usize, tap: usize) -> Option<usize> {
        let index = (output * self.stride + tap * self.dilation).checked_sub(self.before)?;
        if self.spread == 1 {
            return (index < self.input).then_some(index);
        }
        let hits = index.is_multiple_of(self.spread) && index / self.spread < self.input;
        hits.then_some(index / self.spread)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inside_are_the_positions_without_a_tap_in_the_padding() {
        for (input, kernel, stride, dilation, before, output) in [
            (7, 3, 1, 1, 1, 7),
            (8, 3, 2, 1, 0, 4),
            (8, 3, 2, 1, 1, 4),
            (2, 5, 1, 1, 2, 2),
            (9, 3, 1, 4, 4, 9),
            (9, 1, 3, 1, 0, 3),
            (5, 3, 2, 1, 4, 6),
        ] {
            let window = Window { input, output, kernel, stride, dilation, before };
            let axis = WindowAxis::new(window).unwrap();
            let is_inside =
                |&output: &usize| (0..kernel).all(|tap| axis.input_index(output, tap).is_some());
            let expected: Vec<usize> = (0..output).filter(is_inside).collect();
            assert_eq!(axis.inside().collect::<Vec<_>>(), expected, "{window:?}");
        }
    }
}
