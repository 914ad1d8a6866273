//! Rank correlation of the heatmaps of two networks: one and the same, with weights of another precision.

use super::{Network, sanity};
use crate::statistics::quantile;
use anyhow::Context;
use derm::{Limits, Method};
use derm_preprocess::Picture;
use rayon::prelude::*;
use std::path::{Path, PathBuf};

/// Prints for each method the median, the tenth percentile and the least of the pictures' correlations: of the
/// heatmaps of the class that is the most probable one by the first network.
pub(super) fn print(
    network: &Network,
    other: &Network,
    methods: &[Method],
    pictures: &[(String, PathBuf)],
) -> anyhow::Result<()> {
    println!("rank correlation of heatmaps, {} pictures", pictures.len());
    println!("{:20} {:>7} {:>7} {:>7}", "method", "median", "p10", "least");
    for &method in methods {
        let each = pictures
            .par_iter()
            .map(|(id, path)| of_picture(network, other, method, path).with_context(|| id.clone()));
        let mut found: Vec<f64> = each.collect::<anyhow::Result<_>>()?;
        let mut at = |share| quantile(&mut found, share);
        let name = method.to_string();
        println!("{name:20} {:7.4} {:7.4} {:7.4}", at(0.5), at(0.1), at(0.0));
    }
    Ok(())
}

fn of_picture(
    network: &Network,
    other: &Network,
    method: Method,
    path: &Path,
) -> anyhow::Result<f64> {
    let picture = std::fs::read(path)?;
    let prepared = Picture::open(&picture, &Limits::default())?.prepare(&network.manifest.input)?;
    let input = network.input(&prepared.view);
    let class = network.class(&input)?;
    let [a, b] = [network, other].map(|network| network.heatmap(method, &input, class));
    Ok(sanity::rank_correlation(a?.values(), b?.values()))
}
