//! Decoded samples: the last three bands of each component. A band is one row of MCUs.

use super::header::{Component, Header};

/// The bands of all components.
pub(super) struct Bands(pub(super) Vec<Plane>);

impl Bands {
    /// Mid-grey, which is what is not decoded.
    pub(super) fn new(header: &Header) -> Bands {
        Bands(header.components.iter().map(|component| Plane::new(header, component)).collect())
    }

    /// Bytes that [`Bands::new`] allocates.
    pub(super) fn memory(header: &Header) -> usize {
        header.components.iter().map(|component| Plane::size(header, component)).sum()
    }
}

/// The bands of one component: a ring of rows.
pub(super) struct Plane {
    pub(super) samples: Vec<u8>,
    /// Samples of a row, in whole blocks.
    pub(super) stride: usize,
    /// Rows of a band.
    rows: usize,
    /// True size of the component.
    width: usize,
    height: usize,
}

impl Plane {
    /// Samples of a row, and rows of a band, in whole blocks.
    fn band(header: &Header, component: &Component) -> (usize, usize) {
        (header.mcus().0 * component.across * 8, component.down * 8)
    }

    /// Samples that are held.
    fn size(header: &Header, component: &Component) -> usize {
        let (stride, rows) = Plane::band(header, component);
        3 * rows * stride
    }

    fn new(header: &Header, component: &Component) -> Plane {
        let (stride, rows) = Plane::band(header, component);
        let (width, height) = header.component_size(component);
        Plane { samples: vec![128; Plane::size(header, component)], stride, rows, width, height }
    }

    /// Index of the first row of a band in the ring.
    pub(super) fn top(&self, band: usize) -> usize {
        band % 3 * self.rows
    }

    /// True width of the component.
    pub(super) fn width(&self) -> usize {
        self.width
    }

    /// A row of the component; beyond the last one, the last one.
    pub(super) fn row(&self, row: usize) -> &[u8] {
        let row = row.min(self.height - 1) % (3 * self.rows);
        &self.samples[row * self.stride..][..self.width]
    }
}
