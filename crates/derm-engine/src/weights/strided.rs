//! A strided view: numbers of a constant with axes in any order, read where they lie in the file.

use super::offsets::WeightOffsets;
use derm_kernels::{ConvGeometry, Isa, PackedConv, Precision};
use half::f16;
use std::borrow::Cow;
use std::ops::Range;
use tract_onnx::prelude::TypedFact;
use tract_onnx::tract_core::internal::AxisOp;

/// Numbers with axes.
pub(crate) struct Strided<'a> {
    pub(crate) shape: Vec<usize>,
    strides: Vec<usize>,
    numbers: Numbers<'a>,
    /// Where in the file they lie; empty if they do not.
    range: Range<usize>,
}

/// Numbers, little-endian where they are bytes of a file.
pub(super) enum Numbers<'a> {
    F16(&'a [u8]),
    F32(&'a [u8]),
    Values(Vec<f32>),
    I8(Cow<'a, [u8]>),
    U8(Cow<'a, [u8]>),
}

/// 8-bit integers as signed ones: of unsigned ones 128 is subtracted.
#[derive(Clone, Copy)]
pub(super) struct Integers<'a> {
    bytes: &'a [u8],
    /// The bits of each byte to invert: of an unsigned one the highest, which subtracts 128.
    inverted: u8,
}

impl Integers<'_> {
    /// The integer at a sum of [`Strided::offsets`].
    #[inline(always)]
    pub(super) fn at(self, offset: usize) -> i8 {
        (self.bytes[offset] ^ self.inverted) as i8
    }
}

impl<'a> Strided<'a> {
    pub(super) fn contiguous(shape: Vec<usize>, numbers: Numbers<'a>, range: Range<usize>) -> Self {
        let strides = contiguous(&shape);
        Strided { shape, strides, numbers, range }
    }

    pub(super) fn range(&self) -> Range<usize> {
        self.range.clone()
    }

    /// How many numbers there are.
    pub(crate) fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// The number at a sum of [`Strided::offsets`].
    pub(crate) fn at(&self, offset: usize) -> f32 {
        match &self.numbers {
            Numbers::F16(bytes) => {
                f16::from_le_bytes([bytes[2 * offset], bytes[2 * offset + 1]]).to_f32()
            }
            Numbers::F32(bytes) => {
                let at = 4 * offset;
                f32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
            }
            Numbers::Values(values) => values[offset],
            Numbers::I8(bytes) => (bytes[offset] as i8).into(),
            Numbers::U8(bytes) => bytes[offset].into(),
        }
    }

    /// The numbers, if they are 8-bit integers; else none.
    pub(super) fn integers(&self) -> Integers<'_> {
        match &self.numbers {
            Numbers::I8(bytes) => Integers { bytes, inverted: 0 },
            Numbers::U8(bytes) => Integers { bytes, inverted: 0x80 },
            _ => Integers { bytes: &[], inverted: 0 },
        }
    }

    /// The offset from the first number of each index along `axes`, the last axis fastest.
    pub(crate) fn offsets(&self, axes: &[usize]) -> Vec<usize> {
        let mut offsets = vec![0];
        for &axis in axes {
            offsets = offsets
                .iter()
                .flat_map(|offset| {
                    (0..self.shape[axis]).map(move |index| offset + index * self.strides[axis])
                })
                .collect();
        }
        offsets
    }

    /// All numbers, with the axes in this order.
    pub(crate) fn values(&self, order: &[usize]) -> Vec<f32> {
        self.offsets(order).into_iter().map(|offset| self.at(offset)).collect()
    }

    /// The numbers as packed weights. What type they are of is asked once, not for each.
    pub(super) fn packed(
        &self,
        isa: Isa,
        precision: Precision,
        geometry: &ConvGeometry,
        offsets: &WeightOffsets,
    ) -> PackedConv {
        let offset = offsets.finder();
        match &self.numbers {
            Numbers::F16(bytes) => {
                let (numbers, _) = bytes.as_chunks();
                let value = move |o, i, t| f16::from_le_bytes(numbers[offset(o, i, t)]);
                PackedConv::new(isa, precision, geometry, None, value)
            }
            Numbers::F32(bytes) => {
                let (numbers, _) = bytes.as_chunks();
                let value = move |o, i, t| f32::from_le_bytes(numbers[offset(o, i, t)]);
                PackedConv::new(isa, precision, geometry, None, value)
            }
            Numbers::Values(values) => {
                let values = &values[..];
                let value = move |o, i, t| values[offset(o, i, t)];
                PackedConv::new(isa, precision, geometry, None, value)
            }
            Numbers::I8(bytes) => {
                let bytes = &bytes[..];
                let value = move |o, i, t| bytes[offset(o, i, t)] as i8;
                PackedConv::new(isa, precision, geometry, None, value)
            }
            Numbers::U8(bytes) => {
                let bytes = &bytes[..];
                let value = move |o, i, t| f32::from(bytes[offset(o, i, t)]);
                PackedConv::new(isa, precision, geometry, None, value)
            }
        }
    }

    /// The view after an operator that changes axes; `None` where the numbers would have to move.
    pub(super) fn with_axes(mut self, op: &AxisOp, fact: &TypedFact) -> Option<Self> {
        match op {
            AxisOp::Add(axis) => {
                self.shape.insert(*axis, 1);
                self.strides.insert(*axis, 0);
            }
            AxisOp::Rm(axis) => {
                self.shape.remove(*axis);
                self.strides.remove(*axis);
            }
            AxisOp::Move(from, to) => {
                let (length, stride) = (self.shape.remove(*from), self.strides.remove(*from));
                self.shape.insert(*to, length);
                self.strides.insert(*to, stride);
            }
            AxisOp::Reshape(..) if self.is_contiguous() => {
                self.shape = fact.shape.as_concrete()?.to_vec();
                self.strides = contiguous(&self.shape);
            }
            AxisOp::Reshape(..) => return None,
        }
        Some(self)
    }

    fn is_contiguous(&self) -> bool {
        let strides = contiguous(&self.shape);
        (0..self.shape.len())
            .all(|axis| self.shape[axis] == 1 || self.strides[axis] == strides[axis])
    }
}

fn contiguous(shape: &[usize]) -> Vec<usize> {
    (0..shape.len()).map(|axis| shape[axis + 1..].iter().product()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tract_onnx::prelude::{Datum, tvec};

    #[test]
    fn unsigned_integers_are_read_as_they_are_and_as_signed_ones() {
        let bytes: &[u8] = &[0, 127, 128, 255];
        let unsigned = Strided::contiguous(vec![4], Numbers::U8(bytes.into()), 0..4);
        assert_eq!(unsigned.values(&[0]), [0.0, 127.0, 128.0, 255.0]);
        assert_eq!([0, 1, 2, 3].map(|at| unsigned.integers().at(at)), [-128, -1, 0, 127]);
        let signed = Strided::contiguous(vec![4], Numbers::I8(bytes.into()), 0..4);
        assert_eq!(signed.values(&[0]), [0.0, 127.0, -128.0, -1.0]);
        assert_eq!([0, 1, 2, 3].map(|at| signed.integers().at(at)), [0, 127, -128, -1]);
    }

    #[test]
    fn values_follow_the_axes() {
        let bytes: Vec<u8> = (0..6u8).flat_map(|n| f32::from(n).to_le_bytes()).collect();
        let view = Strided::contiguous(vec![2, 3], Numbers::F32(&bytes), 0..24);
        assert_eq!(view.values(&[1, 0]), [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]);
        let fact = TypedFact::dt_shape(f32::datum_type(), [3, 2]);
        let moved = view.with_axes(&AxisOp::Move(0, 1), &fact).unwrap();
        assert_eq!(
            (moved.shape.clone(), moved.values(&[0, 1])),
            (vec![3, 2], vec![0.0, 3.0, 1.0, 4.0, 2.0, 5.0])
        );
        let flat = AxisOp::Reshape(0, tvec!(3.into(), 2.into()), tvec!(6.into()));
        assert!(moved.with_axes(&flat, &TypedFact::dt_shape(f32::datum_type(), [6])).is_none());
    }
}
