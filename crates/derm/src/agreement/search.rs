//! Search: which preprocessing explains the reference best.

use super::{BetterFit, Comparison};
use crate::Error;
use derm_preprocess::{ChannelOrder, Filter, Fit, Spec};

/// The search looks at so many pictures.
const MAX_PICTURES: usize = 16;

/// Normalisations in use: scale, mean, std, in the order of the channels.
const NORMALISATIONS: [(f32, [f32; 3], [f32; 3]); 7] = [
    // torchvision, timm
    (1.0 / 255.0, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
    // timm's and TensorFlow's Inception networks; transformers' ViT
    (1.0 / 255.0, [0.5; 3], [0.5; 3]),
    // CLIP
    (
        1.0 / 255.0,
        [0.481_454_66, 0.457_827_5, 0.408_210_73],
        [0.268_629_54, 0.261_302_6, 0.275_777_1],
    ),
    (1.0 / 255.0, [0.0; 3], [1.0; 3]),
    // The network rescales pixels itself.
    (1.0, [0.0; 3], [1.0; 3]),
    // Caffe and keras.applications' ResNet and VGG, blue first
    (1.0, [103.939, 116.779, 123.68], [1.0; 3]),
    // The same, red first
    (1.0, [123.68, 116.779, 103.939], [1.0; 3]),
];

/// Shares of the shortest side that a centre crop keeps.
const CROPS: [f64; 6] = [1.0, 0.95, 0.9, 0.875, 224.0 / 256.0, 0.8];

impl Comparison {
    /// Looks for a preprocessing that agrees better than the manifest's: one part after the other
    /// (normalisation with the order of channels; filter with fit), twice. `None`: there is none
    /// that differs less by half.
    ///
    /// # Errors
    /// As [`Comparison::agreement`].
    pub fn better_fit(&self) -> Result<Option<BetterFit>, Error> {
        let pictures = &self.reference.pictures;
        let pictures = &pictures[..pictures.len().min(MAX_PICTURES)];
        let given = &self.manifest.input;
        let first = self.with(given, pictures)?;
        let (mut best, mut agreement) = (given.clone(), first);
        for _ in 0..2 {
            for candidates in [normalisations(&best), fits(&best)] {
                for candidate in candidates.into_iter().filter(|spec| spec.problem().is_none()) {
                    let found = self.with(&candidate, pictures)?;
                    if found.mean_difference < agreement.mean_difference {
                        (best, agreement) = (candidate, found);
                    }
                }
            }
        }
        let is_better = agreement.mean_difference < first.mean_difference / 2.0;
        let changes = changes(given, &best);
        Ok(is_better.then_some(BetterFit { input: best, changes, agreement }))
    }
}

/// Normalisations, and the order of the channels.
fn normalisations(spec: &Spec) -> Vec<Spec> {
    let orders = match spec.channels {
        ChannelOrder::Grey => vec![ChannelOrder::Grey],
        _ => vec![ChannelOrder::Rgb, ChannelOrder::Bgr],
    };
    let own = (spec.scale, spec.mean, spec.std);
    let all = || NORMALISATIONS.into_iter().chain([own]);
    let with = |channels| {
        all().map(move |(scale, mean, std)| Spec { scale, mean, std, channels, ..spec.clone() })
    };
    orders.into_iter().flat_map(with).collect()
}

/// Filters and fits.
fn fits(spec: &Spec) -> Vec<Spec> {
    let side = spec.height.max(spec.width);
    let crops = CROPS.map(|share| Fit::CropShortestSide((f64::from(side) / share).floor() as u32));
    let mut fits = vec![spec.fit, Fit::Stretch];
    fits.extend(crops);
    let with = |filter| fits.iter().map(move |&fit| Spec { filter, fit, ..spec.clone() });
    [Filter::Bilinear, Filter::Bicubic].into_iter().flat_map(with).collect()
}

/// The lines of the manifest that differ.
fn changes(from: &Spec, to: &Spec) -> Vec<String> {
    let mut found = Vec::new();
    let mut note = |differs: bool, line: String| found.extend(differs.then_some(line));
    let order = |order| match order {
        ChannelOrder::Rgb => "rgb",
        ChannelOrder::Bgr => "bgr",
        ChannelOrder::Grey => "grey",
    };
    note(from.channels != to.channels, format!("channels = \"{}\"", order(to.channels)));
    note(from.scale != to.scale, format!("scale = {:?}", to.scale));
    note(from.mean != to.mean, format!("mean = {:?}", to.mean));
    note(from.std != to.std, format!("std = {:?}", to.std));
    let filter = match to.filter {
        Filter::Bilinear => "bilinear",
        Filter::Bicubic => "bicubic",
    };
    note(from.filter != to.filter, format!("filter = \"{filter}\""));
    let fit = match to.fit {
        Fit::Stretch => "\"stretch\"".to_owned(),
        Fit::CropShortestSide(side) => format!("{{ crop_shortest_side = {side} }}"),
    };
    note(from.fit != to.fit, format!("fit = {fit}"));
    found
}
