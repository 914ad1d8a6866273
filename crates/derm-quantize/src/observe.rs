//! Observation: what values the tensors of a network take on the calibration pictures.

use crate::histogram::Histogram;
use crate::network::Network;
use crate::placement::{Channels, Placement};
use crate::{Error, Progress};
use derm_model::EngineOptions;
use derm_onnx::ModelProto;
use derm_preprocess::RgbImage;
use ndarray::{ArrayViewD, Axis};
use rayon::prelude::*;
use std::collections::BTreeMap;

/// What is known of one tensor.
#[derive(Debug, Clone)]
pub(crate) struct Statistics {
    pub(crate) histogram: Histogram,
    /// For each channel the sum of its values, and of how many.
    sums: Vec<f64>,
    count: u64,
    channels: Option<Channels>,
}

impl Statistics {
    fn new(channels: Option<Channels>) -> Statistics {
        Statistics { histogram: Histogram::new(), sums: Vec::new(), count: 0, channels }
    }

    /// The mean of each channel; empty where no product reads the tensor.
    pub(crate) fn means(&self) -> Vec<f64> {
        self.sums.iter().map(|sum| sum / self.count.max(1) as f64).collect()
    }

    fn add(&mut self, values: &ArrayViewD<'_, f32>) -> bool {
        let is_finite = match values.as_slice_memory_order() {
            Some(slice) => self.histogram.add(slice.iter()),
            None => self.histogram.add(values.iter()),
        };
        let axis = self.channels.and_then(|channels| channels.axis(values.ndim()));
        if let Some(axis) = axis.filter(|_| is_finite) {
            self.add_channels(values, axis);
        }
        is_finite
    }

    fn add_channels(&mut self, values: &ArrayViewD<'_, f32>, axis: usize) {
        let channels = values.shape()[axis];
        self.sums.resize(channels, 0.0);
        self.count += (values.len() / channels.max(1)) as u64;
        let mut order: Vec<usize> = (0..values.ndim()).filter(|&other| other != axis).collect();
        order.push(axis);
        let last = values.view().permuted_axes(order);
        match last.as_slice() {
            Some(slice) => slice.chunks_exact(channels).for_each(|row| {
                row.iter().zip(&mut self.sums).for_each(|(&value, sum)| *sum += f64::from(value));
            }),
            None => self.sums.iter_mut().enumerate().for_each(|(channel, sum)| {
                let of_channel = values.index_axis(Axis(axis), channel);
                *sum += of_channel.iter().map(|&value| f64::from(value)).sum::<f64>();
            }),
        }
    }
}

/// Observes the tensors that are to be quantised, on every picture.
///
/// # Errors
/// [`Error::NotFinite`], those of [`Network::load`].
pub(crate) fn observe(
    model: &ModelProto,
    manifest: &str,
    placement: &Placement,
    pictures: &[RgbImage],
    options: &EngineOptions,
    progress: &dyn Progress,
) -> Result<BTreeMap<String, Statistics>, Error> {
    let names: Vec<&str> = placement.values.iter().map(|value| value.name.as_str()).collect();
    let parts = Network::parts(model, manifest, &names, options)?;
    progress.begin("calibrating", (parts.len() * pictures.len()) as u64);
    let mut found = BTreeMap::new();
    for part in parts {
        let network = Network::load(model, manifest, &part, options)?;
        let of = |name: &&str| (name.to_string(), Statistics::new(placement.channels(name)));
        let mut observed: Vec<(String, Statistics)> = part.iter().map(of).collect();
        for picture in pictures {
            let run = network.run(picture)?;
            let values = (0..part.len()).map(|number| network.kept(&run, number));
            let values: Vec<ArrayViewD<'_, f32>> = values.collect();
            let outcomes = observed.par_iter_mut().zip(&values).map(|((name, one), values)| {
                let is_finite = one.add(values);
                if is_finite { Ok(()) } else { Err(Error::NotFinite(name.clone())) }
            });
            outcomes.collect::<Result<(), Error>>()?;
            progress.step();
        }
        found.extend(observed);
    }
    Ok(found)
}
