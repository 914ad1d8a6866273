//! Model randomisation test: Adebayo et al., *Sanity Checks for Saliency Maps*, 2018, arXiv:1810.03292. A
//! heatmap that is the same for a network with shuffled weights does not depend on the model.

use anyhow::Context;
use ndarray::Array2;
use std::path::{Path, PathBuf};

/// Writes the model with the values of every large weight shuffled to `folder`; returns that folder.
pub(super) fn shuffled(model: &Path, folder: &Path) -> anyhow::Result<PathBuf> {
    let (file, manifest) = if model.is_dir() {
        (model.join("model.onnx"), model.join("model.toml"))
    } else {
        (model.to_owned(), model.with_extension("toml"))
    };
    let mut graph = derm_onnx::read(&file)?;
    let mut random = fastrand::Rng::with_seed(0);
    let tensors = graph.graph.as_mut().into_iter().flat_map(|graph| graph.initializer.iter_mut());
    for tensor in tensors {
        // Float32 and float16 as raw bytes; other fields are rare.
        let size = match tensor.data_type {
            1 => 4,
            10 => 2,
            _ => continue,
        };
        let numbers = tensor.raw_data.len() / size;
        if numbers > 16 {
            let mut indices: Vec<usize> = (0..numbers).collect();
            random.shuffle(&mut indices);
            let moved =
                indices.iter().flat_map(|&p| tensor.raw_data[p * size..(p + 1) * size].to_vec());
            tensor.raw_data = moved.collect();
        }
    }
    let target = folder.join("model.onnx");
    derm_onnx::write(&graph, &target)?;
    std::fs::copy(&manifest, folder.join("model.toml"))
        .with_context(|| manifest.display().to_string())?;
    Ok(folder.to_owned())
}

/// Spearman's rank correlation of two heatmaps of one size; 0 where one of them is constant.
pub(super) fn rank_correlation(a: &Array2<f32>, b: &Array2<f32>) -> f64 {
    let (a, b) = (ranks(a), ranks(b));
    let mean = (a.len() as f64 - 1.0) / 2.0;
    let (mut product, mut of_a, mut of_b) = (0.0, 0.0, 0.0);
    for (a, b) in a.iter().zip(&b) {
        product += (a - mean) * (b - mean);
        of_a += (a - mean).powi(2);
        of_b += (b - mean).powi(2);
    }
    if of_a * of_b > 0.0 { product / (of_a * of_b).sqrt() } else { 0.0 }
}

/// The rank of each value, from 0; ties get their mean rank.
fn ranks(values: &Array2<f32>) -> Vec<f64> {
    let values: Vec<f32> = values.iter().copied().collect();
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&a, &b| values[a].total_cmp(&values[b]));
    let mut ranks = vec![0.0; values.len()];
    let mut first = 0;
    while first < order.len() {
        let same = |&&index: &&usize| values[index] == values[order[first]];
        let end = first + order[first..].iter().take_while(same).count();
        for &index in &order[first..end] {
            ranks[index] = (first + end - 1) as f64 / 2.0;
        }
        first = end;
    }
    ranks
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    #[test]
    fn ranks_agree_or_oppose() {
        let a = array![[0.1, 0.5], [0.9, 0.5]];
        assert!((rank_correlation(&a, &a.mapv(|v: f32| v * v)) - 1.0).abs() < 1e-12);
        assert!((rank_correlation(&a, &a.mapv(|v: f32| -v)) + 1.0).abs() < 1e-12);
        assert_eq!(rank_correlation(&a, &Array2::zeros((2, 2))), 0.0);
    }
}
