//! Order statistics of times that were measured.

/// The share `quantile` (0..=1) of the values is not larger than this one; 0 of none.
pub(crate) fn quantile(values: &mut [f64], quantile: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let index = (values.len() as f64 * quantile) as usize;
    values.get(index.min(values.len().saturating_sub(1))).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_values_that_were_measured() {
        let mut values: Vec<f64> = (1..=200).rev().map(f64::from).collect();
        assert_eq!(quantile(&mut values, 0.5), 101.0);
        assert_eq!(quantile(&mut values, 0.99), 199.0);
        assert_eq!(quantile(&mut values, 1.0), 200.0);
        assert_eq!(quantile(&mut [], 0.5), 0.0);
    }
}
