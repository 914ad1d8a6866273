//! Geometry: what its constructors refuse, and the rows that a window reads.

use crate::reference::{axis, cases, input_index};
use derm_kernels::{ConvGeometry, GeometryError, PoolGeometry, Window, WindowAxis};
use proptest::prelude::*;

const WINDOW: Window = Window { input: 8, output: 8, kernel: 3, stride: 1, dilation: 1, before: 1 };

fn pointwise(positions: usize) -> WindowAxis {
    WindowAxis::pointwise(positions).unwrap()
}

#[test]
fn sizes_of_zero_are_refused() {
    for window in [
        Window { kernel: 0, ..WINDOW },
        Window { stride: 0, ..WINDOW },
        Window { dilation: 0, ..WINDOW },
    ] {
        assert!(matches!(WindowAxis::new(window), Err(GeometryError::Zero(_))), "{window:?}");
    }
    let axes = [WindowAxis::ONE, WindowAxis::ONE];
    for (inputs, outputs, groups) in [(0, 1, 1), (1, 0, 1), (1, 1, 0)] {
        let geometry = ConvGeometry::new(axes, inputs, outputs, groups);
        assert!(matches!(geometry, Err(GeometryError::Zero(_))));
    }
    assert!(matches!(PoolGeometry::new(axes, 0), Err(GeometryError::Zero(_))));
}

#[test]
fn groups_must_divide_the_channels() {
    let axes = [WindowAxis::ONE, WindowAxis::ONE];
    assert_eq!(ConvGeometry::new(axes, 6, 9, 2), Err(GeometryError::Groups));
    assert_eq!(ConvGeometry::new(axes, 9, 6, 2), Err(GeometryError::Groups));
    assert!(ConvGeometry::new(axes, 9, 6, 3).is_ok());
}

/// Each product or sum that wraps, or whose bytes do, one at a time.
#[test]
fn sizes_that_wrap_are_refused() {
    let huge = usize::MAX / 2;
    for window in [
        Window { input: huge, ..WINDOW },
        Window { output: huge, ..WINDOW },
        Window { kernel: huge, ..WINDOW },
        Window { stride: huge, ..WINDOW },
        Window { dilation: huge, ..WINDOW },
        Window { before: huge, ..WINDOW },
    ] {
        assert_eq!(WindowAxis::new(window), Err(GeometryError::TooLarge), "{window:?}");
    }
    let wide = pointwise(1 << 31);
    // 2^62 positions of 4 bytes.
    assert_eq!(ConvGeometry::new([wide, wide], 1, 1, 1), Err(GeometryError::TooLarge));
    assert_eq!(PoolGeometry::new([wide, wide], 1), Err(GeometryError::TooLarge));
    // 2^32 output values of 2^20 taps each are as many operations as are allowed.
    let wide = Window { input: 1 << 31, output: 1 << 31, kernel: 1 << 20, before: 0, ..WINDOW };
    let axes = [WindowAxis::new(wide).unwrap(), WindowAxis::ONE];
    assert!(PoolGeometry::new(axes, 2).is_ok());
    assert_eq!(PoolGeometry::new(axes, 3), Err(GeometryError::TooLarge));
    assert_eq!(ConvGeometry::new(axes, 1, 3, 1), Err(GeometryError::TooLarge));
    // 2^62 weights, 2^62 operations.
    assert_eq!(ConvGeometry::product(1, 1 << 31, 1 << 31), Err(GeometryError::TooLarge));
    assert_eq!(ConvGeometry::product(1 << 20, 1 << 20, 1 << 20), Err(GeometryError::TooLarge));
    // No position, but too many channels.
    assert_eq!(ConvGeometry::product(0, 1 << 31, 1 << 31), Err(GeometryError::TooLarge));
    let none = [pointwise(0), pointwise(0)];
    assert_eq!(ConvGeometry::new(none, huge, huge, huge), Err(GeometryError::TooLarge));
}

#[test]
fn no_positions_are_allowed() {
    let geometry = ConvGeometry::product(0, 3, 4).unwrap();
    assert_eq!((geometry.input_len(), geometry.output_len(), geometry.weights()), (0, 0, 12));
}

proptest! {
    #![proptest_config(cases(96))]

    #[test]
    fn needed_is_what_the_window_reads(axis in axis(), start in 0usize..20, length in 1usize..5) {
        let start = start.min(axis.output() - 1);
        let wanted = start..(start + length).min(axis.output());
        let read: Vec<usize> = wanted.clone()
            .flat_map(|output| (0..axis.kernel()).filter_map(move |tap| input_index(axis, output, tap)))
            .collect();
        let needed = axis.needed(&wanted);
        prop_assert!(read.iter().all(|index| needed.contains(index)), "{:?} {:?}", read, needed);
        if let (Some(first), Some(last)) = (read.iter().min(), read.iter().max())
            && (axis.dilation(), axis.stride()) == (1, 1)
        {
            prop_assert_eq!(needed, *first..last + 1);
        }
    }
}
