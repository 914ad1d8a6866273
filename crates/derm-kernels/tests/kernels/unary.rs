//! Elementwise functions and their derivatives, against their definitions in float64.

use crate::reference::{cases, close, numbers, size};
use derm_kernels::{Isa, Unary};
use proptest::prelude::*;

/// The function by its definition.
fn value(function: Unary, x: f64) -> f64 {
    match function {
        Unary::Clamp(low, high) => x.clamp(low.into(), high.into()),
        Unary::Sigmoid => sigmoid(x),
        Unary::Silu => x * sigmoid(x),
        Unary::Swish(alpha) => x * sigmoid(f64::from(alpha) * x),
        Unary::HardSigmoid(alpha, beta) => (f64::from(alpha) * x + f64::from(beta)).clamp(0.0, 1.0),
        Unary::HardSwish => x * (x / 6.0 + 0.5).clamp(0.0, 1.0),
        Unary::Tanh => x.tanh(),
        Unary::Gelu => 0.5 * x * (1.0 + libm::erf(x / 2f64.sqrt())),
        Unary::LeakyRelu(slope) => x.max(0.0) + f64::from(slope) * x.min(0.0),
        Unary::Celu(alpha) => {
            let alpha = f64::from(alpha);
            x.max(0.0) + (alpha * ((x / alpha).exp() - 1.0)).min(0.0)
        }
        Unary::Linear(scale, offset) => f64::from(scale) * x + f64::from(offset),
        Unary::Square => x * x,
        Unary::Sqrt => x.sqrt(),
        Unary::Rsqrt => 1.0 / x.sqrt(),
        Unary::Recip => 1.0 / x,
        Unary::Exp => x.exp(),
        Unary::Neg => -x,
    }
}

/// The derivative by its definition, away from corners.
fn derivative(function: Unary, x: f64) -> f64 {
    let (s, half) = (sigmoid(x), 0.5);
    match function {
        Unary::Clamp(low, high) => f64::from(x > low.into() && x < high.into()),
        Unary::Sigmoid => s * (1.0 - s),
        Unary::Silu => s + x * s * (1.0 - s),
        Unary::Swish(alpha) => {
            let scaled = f64::from(alpha) * x;
            let s = sigmoid(scaled);
            s + scaled * s * (1.0 - s)
        }
        Unary::HardSigmoid(alpha, beta) => {
            let (alpha, beta) = (f64::from(alpha), f64::from(beta));
            let linear = alpha * x + beta;
            if linear > 0.0 && linear < 1.0 { alpha } else { 0.0 }
        }
        Unary::HardSwish if x <= -3.0 => 0.0,
        Unary::HardSwish if x >= 3.0 => 1.0,
        Unary::HardSwish => x / 3.0 + half,
        Unary::Tanh => 1.0 - x.tanh().powi(2),
        Unary::Gelu => {
            let density = (-x * x / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt();
            half * (1.0 + libm::erf(x / 2f64.sqrt())) + x * density
        }
        Unary::LeakyRelu(slope) => {
            if x > 0.0 {
                1.0
            } else {
                slope.into()
            }
        }
        Unary::Celu(alpha) => {
            if x > 0.0 {
                1.0
            } else {
                (x / f64::from(alpha)).exp()
            }
        }
        Unary::Linear(scale, _) => scale.into(),
        Unary::Square => 2.0 * x,
        Unary::Sqrt => half / x.sqrt(),
        Unary::Rsqrt => -half * x.powf(-1.5),
        Unary::Recip => -1.0 / (x * x),
        Unary::Exp => x.exp(),
        Unary::Neg => -1.0,
    }
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// Defined everywhere, of moderate size on -100..=100.
const EVERYWHERE: [Unary; 16] = [
    Unary::Clamp(0.0, 6.0),
    Unary::Clamp(0.0, f32::INFINITY),
    Unary::Sigmoid,
    Unary::Silu,
    Unary::Swish(0.5),
    Unary::Swish(1.702),
    Unary::HardSigmoid(0.2, 0.5),
    Unary::HardSwish,
    Unary::Tanh,
    Unary::Gelu,
    Unary::LeakyRelu(0.1),
    Unary::Celu(1.0),
    Unary::Celu(2.5),
    Unary::Linear(2.0, -1.0),
    Unary::Square,
    Unary::Neg,
];

/// Defined for positive numbers, or too large for others.
const POSITIVE: [Unary; 4] = [Unary::Sqrt, Unary::Rsqrt, Unary::Recip, Unary::Exp];

#[test]
fn values() {
    let step = if cfg!(miri) { 401 } else { 1 };
    let points: Vec<f32> = (-4000..=4000).step_by(step).map(|i| i as f32 / 40.0).collect();
    for isa in Isa::available() {
        for function in EVERYWHERE {
            let mut found = points.clone();
            function.apply(isa, &mut found);
            for (&x, &y) in points.iter().zip(&found) {
                let expected = value(function, x.into());
                let bound = 2e-6 * expected.abs().max(1.0);
                let error = (f64::from(y) - expected).abs();
                assert!(error <= bound, "{function:?} {isa:?} {x}: {y}, not {expected}");
            }
        }
        for function in POSITIVE {
            let points: Vec<f32> = (1..2000).step_by(step).map(|i| i as f32 / 40.0).collect();
            let mut found = points.clone();
            function.apply(isa, &mut found);
            for (&x, &y) in points.iter().zip(&found) {
                let ratio = f64::from(y) / value(function, x.into());
                assert!((ratio - 1.0).abs() < 1e-6, "{function:?} {isa:?} {x}: {y}");
            }
        }
    }
}

/// CELU with alpha = 1 is ELU; Swish with alpha = 1 is SiLU, and with 0 a half of x.
#[test]
fn parameters_matter() {
    assert!((Unary::Celu(1.0).value(-1.0) - (f32::exp(-1.0) - 1.0)).abs() < 1e-6);
    assert!((Unary::Celu(2.0).value(-1.0) - 2.0 * (f32::exp(-0.5) - 1.0)).abs() < 1e-6);
    assert_eq!(Unary::Celu(2.0).value(3.0), 3.0);
    assert_eq!(Unary::Swish(1.0).value(0.7), Unary::Silu.value(0.7));
    assert_eq!(Unary::Swish(0.0).value(0.5), 0.25);
    assert!((Unary::Celu(2.0).derivative(-1.0) - f32::exp(-0.5)).abs() < 1e-6);
    assert_eq!(Unary::Celu(2.0).derivative(3.0), 1.0);
}

#[test]
fn nan_stays_nan() {
    for isa in Isa::available() {
        for function in EVERYWHERE.into_iter().chain(POSITIVE) {
            let mut values = [f32::NAN; 19];
            function.apply(isa, &mut values);
            assert!(values.iter().all(|value| value.is_nan()), "{function:?} {isa:?}");
        }
    }
}

proptest! {
    #![proptest_config(cases(96))]

    #[test]
    fn derivatives(values in prop::collection::vec(-6f32..6.0, 1..size(70))) {
        // Away from corners, where the last bit decides.
        let values: Vec<f32> = values.into_iter().map(|x| (x * 64.0).floor() / 64.0 + 0.003).collect();
        let positive: Vec<f32> = values.iter().map(|x| x.abs() + 0.1).collect();
        for isa in Isa::available() {
            let check = |function: Unary, values: &[f32], tolerance: f32| {
                let mut gradients = numbers(values.len(), 5);
                let plain: Vec<f32> = values.iter().zip(&gradients)
                    .map(|(&x, &g)| (derivative(function, x.into()) * f64::from(g)) as f32)
                    .collect();
                function.multiply_by_derivative(isa, values, &mut gradients);
                close(&gradients, &plain, tolerance)
            };
            for function in EVERYWHERE.into_iter().chain([Unary::Exp]) {
                check(function, &values, 2e-6)?;
            }
            for function in POSITIVE {
                check(function, &positive, 1e-5)?;
            }
        }
    }
}
