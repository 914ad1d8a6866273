//! From a graph's output to probabilities.

use crate::Output;

impl Output {
    /// Probabilities (0..=1), one for each score; they sum to 1 unless the output is
    /// [`Output::Sigmoid`].
    pub fn probabilities(self, scores: &[f32]) -> Vec<f32> {
        match self {
            Output::Softmax | Output::Sigmoid => scores.to_vec(),
            Output::Logits => softmax(scores),
        }
    }
}

fn softmax(logits: &[f32]) -> Vec<f32> {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let exponentials: Vec<f32> = logits.iter().map(|logit| (logit - largest).exp()).collect();
    let sum: f32 = exponentials.iter().sum();
    exponentials.into_iter().map(|e| e / sum).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn softmax_sums_to_one_even_for_huge_logits() {
        let probabilities = Output::Logits.probabilities(&[1000.0, 999.0, -1000.0]);
        assert!((probabilities.iter().sum::<f32>() - 1.0).abs() < 1e-6);
        assert!((probabilities[0] - 0.731_058_6).abs() < 1e-6);
        assert_eq!(Output::Sigmoid.probabilities(&[0.9, 0.9]), [0.9, 0.9]);
    }
}
