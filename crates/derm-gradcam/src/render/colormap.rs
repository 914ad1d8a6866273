//! Colour maps: a value in 0..=1 to RGB.

use serde::{Deserialize, Serialize};

/// A colour map for values in 0..=1.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Colormap {
    /// Blue, cyan, yellow, red (OpenCV's `COLORMAP_JET`).
    #[default]
    Jet,
    /// Perceptually uniform; readable with colour vision deficiency (matplotlib).
    Viridis,
    /// Perceptually uniform, black to yellow (matplotlib).
    Inferno,
    /// A smoother jet (Mikhailov 2019).
    Turbo,
}

impl Colormap {
    /// The RGB colour of a value; values outside 0..=1 are clamped.
    pub fn color(self, value: f32) -> [u8; 3] {
        let value = f64::from(value).clamp(0.0, 1.0);
        match self {
            Colormap::Jet => {
                let ramp = |centre: f64| {
                    sample(255.0 * (1.5 - (4.0 * value - centre).abs()).clamp(0.0, 1.0))
                };
                [ramp(3.0), ramp(2.0), ramp(1.0)]
            }
            Colormap::Viridis => colorous::VIRIDIS.eval_continuous(value).as_array(),
            Colormap::Inferno => colorous::INFERNO.eval_continuous(value).as_array(),
            Colormap::Turbo => colorous::TURBO.eval_continuous(value).as_array(),
        }
    }
}

/// A sample of 0..=255: the nearest integer, halves up. `round` is a call to the C library for each where the
/// processor is not known to have the instruction.
pub(super) fn sample(value: f64) -> u8 {
    (value + 0.5) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jet_runs_from_blue_to_red() {
        assert_eq!(Colormap::Jet.color(0.0), [0, 0, 128]);
        assert_eq!(Colormap::Jet.color(0.5), [128, 255, 128]);
        assert_eq!(Colormap::Jet.color(1.0), [128, 0, 0]);
        assert_eq!(Colormap::Jet.color(7.0), Colormap::Jet.color(1.0));
    }
}
