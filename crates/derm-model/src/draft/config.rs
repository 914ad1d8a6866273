//! Configuration beside a model: Hugging Face, timm, Keras, and lists of labels.

use super::known::Known;
use derm_preprocess::{Filter, Fit};
use serde_json::Value;
use std::path::Path;

const PREPROCESSOR: &str = "preprocessor_config.json";
const CONFIG: &str = "config.json";

/// Larger files are no configuration.
const MAX_BYTES: u64 = 8 << 20;

/// What the files say; `None`: nothing.
#[derive(Default)]
pub(super) struct Configuration {
    pub(super) height: Option<Known<u32>>,
    pub(super) width: Option<Known<u32>>,
    pub(super) scale: Option<Known<f32>>,
    pub(super) mean: Option<Known<[f32; 3]>>,
    pub(super) std: Option<Known<[f32; 3]>>,
    pub(super) filter: Option<Known<Filter>>,
    pub(super) fit: Option<Known<Fit>>,
    pub(super) classes: Option<Known<Vec<String>>>,
}

impl Configuration {
    /// Reads the files of a folder; of the one above, if it is called `onnx` (as in repositories
    /// of Hugging Face).
    pub(super) fn beside(folder: &Path) -> Configuration {
        let mut found = Configuration::default();
        let above =
            folder.parent().filter(|_| folder.file_name().is_some_and(|name| name == "onnx"));
        for folder in [Some(folder), above].into_iter().flatten() {
            if let Some(json) = json(&folder.join(CONFIG)) {
                match json.get("pretrained_cfg") {
                    Some(timm) => found.timm(timm, &json),
                    None if json.get("class_name").is_some() => found.keras(&json),
                    None => {}
                }
                found.hugging_face(&json);
            }
            if let Some(json) = json(&folder.join(PREPROCESSOR)) {
                found.preprocessor(&json);
            }
            for name in ["labels.txt", "classes.txt"] {
                let lines = text(&folder.join(name)).map(|text| {
                    text.lines()
                        .map(|line| line.trim().to_owned())
                        .filter(|line| !line.is_empty())
                        .collect()
                });
                let lines = lines.map(|lines| Known::from(lines, "labels.txt"));
                found.classes = found.classes.take().or(lines);
            }
        }
        found
    }

    /// `config.json` of transformers: `id2label`, `image_size`.
    fn hugging_face(&mut self, json: &Value) {
        if let Some(labels) = json.get("id2label").and_then(Value::as_object) {
            let names: Option<Vec<String>> = (0..labels.len())
                .map(|number| labels.get(&number.to_string())?.as_str().map(str::to_owned))
                .collect();
            self.classes = self.classes.take().or(names.map(|names| Known::from(names, CONFIG)));
        }
        let sides = match json.get("image_size") {
            Some(Value::Array(sides)) => (side(sides.first()), side(sides.get(1))),
            number => (side(number), side(number)),
        };
        self.sides(sides, CONFIG);
    }

    fn sides(&mut self, (height, width): (Option<u32>, Option<u32>), origin: &'static str) {
        self.height = self.height.take().or(height.map(|side| Known::from(side, origin)));
        self.width = self.width.take().or(width.map(|side| Known::from(side, origin)));
    }

    /// `config.json` of timm: `pretrained_cfg`, `label_names`.
    fn timm(&mut self, timm: &Value, whole: &Value) {
        let size = timm.get("input_size").and_then(Value::as_array);
        let sides = size.map(|size| (side(size.get(1)), side(size.get(2)))).unwrap_or_default();
        self.sides(sides, CONFIG);
        self.mean = three(timm.get("mean")).map(|mean| Known::from(mean, CONFIG));
        self.std = three(timm.get("std")).map(|std| Known::from(std, CONFIG));
        if self.mean.is_some() {
            self.scale = Some(Known::from(1.0 / 255.0, CONFIG));
        }
        self.filter =
            timm.get("interpolation").and_then(Value::as_str).and_then(|name| match name {
                "bilinear" | "random" => Some(Known::from(Filter::Bilinear, CONFIG)),
                "bicubic" => Some(Known::from(Filter::Bicubic, CONFIG)),
                _ => None,
            });
        let share = timm
            .get("crop_pct")
            .and_then(Value::as_f64)
            .filter(|share| (0.1..=1.0).contains(share));
        let is_squashed = timm.get("crop_mode").and_then(Value::as_str) == Some("squash");
        self.fit = match (share, sides.0) {
            (Some(share), Some(height)) if !is_squashed => {
                // As timm: int(floor(size / crop_pct)).
                let resized = (f64::from(height) / share).floor() as u32;
                Some(Known::from(Fit::CropShortestSide(resized), CONFIG))
            }
            (Some(1.0), _) => Some(Known::from(Fit::Stretch, CONFIG)),
            _ => None,
        };
        let labels =
            whole.get("label_names").or_else(|| timm.get("label_names")).and_then(Value::as_array);
        self.classes = labels.map(|labels| {
            let names = labels.iter().filter_map(Value::as_str).map(str::to_owned).collect();
            Known::from(names, CONFIG)
        });
    }

    /// Keras' `config.json` (a model's `get_config`): layers that rescale the input.
    fn keras(&mut self, json: &Value) {
        let layers = json.pointer("/config/layers").and_then(Value::as_array);
        let first = layers.into_iter().flatten().take(4);
        let rescales = |layer: &Value| {
            let name = layer.get("class_name").and_then(Value::as_str);
            matches!(name, Some("Rescaling" | "Normalization"))
        };
        if first.into_iter().any(rescales) {
            const WHY: &str = "config.json: a layer rescales pixels";
            self.scale = Some(Known::from(1.0, WHY));
            self.mean = Some(Known::from([0.0; 3], WHY));
            self.std = Some(Known::from([1.0; 3], WHY));
        }
    }

    /// `preprocessor_config.json` of transformers' image processors.
    fn preprocessor(&mut self, json: &Value) {
        let flag = |name: &str| json.get(name).and_then(Value::as_bool);
        let known = |value| Some(Known::from(value, PREPROCESSOR));
        if flag("do_normalize") == Some(false) {
            self.mean = Some(Known::from([0.0; 3], PREPROCESSOR));
            self.std = Some(Known::from([1.0; 3], PREPROCESSOR));
        } else {
            self.mean = three(json.get("image_mean"))
                .map(|mean| Known::from(mean, PREPROCESSOR))
                .or(self.mean.take());
            self.std = three(json.get("image_std"))
                .map(|std| Known::from(std, PREPROCESSOR))
                .or(self.std.take());
        }
        let factor = json.get("rescale_factor").and_then(Value::as_f64).map(|factor| factor as f32);
        self.scale = match flag("do_rescale") {
            Some(false) => known(1.0),
            Some(true) => known(factor.unwrap_or(1.0 / 255.0)),
            None => factor.and_then(known).or(self.scale.take()),
        };
        self.filter = match json.get("resample").and_then(Value::as_u64) {
            Some(2) => Some(Known::from(Filter::Bilinear, PREPROCESSOR)),
            Some(3) => Some(Known::from(Filter::Bicubic, PREPROCESSOR)),
            Some(_) => Some(Known::guess(
                Filter::Bicubic,
                "preprocessor_config.json resamples otherwise: compare",
            )),
            None => self.filter.take(),
        };
        self.size(json);
    }

    /// How a picture is made to fit, and to which size.
    fn size(&mut self, json: &Value) {
        let field = |name: &str, key: &str| side(json.get(name).and_then(|size| size.get(key)));
        let plain = |name: &str| side(json.get(name));
        let crops = json.get("do_center_crop").and_then(Value::as_bool) == Some(true);
        let shortest = field("size", "shortest_edge").or_else(|| plain("size"));
        let sides = (field("size", "height"), field("size", "width"));
        let crop_to = (
            field("crop_size", "height").or_else(|| plain("crop_size")),
            field("crop_size", "width").or_else(|| plain("crop_size")),
        );
        let share = json
            .get("crop_pct")
            .and_then(Value::as_f64)
            .filter(|share| (0.1..=1.0).contains(share));
        let fit = |fit| Some(Known::from(fit, PREPROCESSOR));
        match (shortest, share) {
            // ConvNeXt: below 384 the shortest side becomes size / crop_pct.
            (Some(shortest), Some(share)) if !crops => {
                self.sides((Some(shortest), Some(shortest)), PREPROCESSOR);
                let resized = (f64::from(shortest) / share) as u32;
                self.fit =
                    fit(if shortest < 384 { Fit::CropShortestSide(resized) } else { Fit::Stretch });
            }
            (Some(shortest), _) if crops && crop_to.0.is_some() => {
                self.sides(crop_to, PREPROCESSOR);
                self.fit = fit(Fit::CropShortestSide(shortest));
            }
            _ if sides.0.is_some() && !crops => {
                self.sides(sides, PREPROCESSOR);
                self.fit = fit(Fit::Stretch);
            }
            (Some(side), _) if json.get("size").is_some_and(Value::is_number) => {
                self.sides((Some(side), Some(side)), PREPROCESSOR);
                self.fit = fit(Fit::Stretch);
            }
            _ => {
                self.sides(crop_to, PREPROCESSOR);
                let why = "preprocessor_config.json resizes in a way of its own: compare";
                self.fit = Some(Known::guess(Fit::Stretch, why));
            }
        }
    }
}

fn text(path: &Path) -> Option<String> {
    let metadata = path.metadata().ok()?;
    let is_read = metadata.is_file() && metadata.len() <= MAX_BYTES;
    is_read.then(|| std::fs::read_to_string(path).ok()).flatten()
}

fn json(path: &Path) -> Option<Value> {
    serde_json::from_str(&text(path)?).ok()
}

fn side(value: Option<&Value>) -> Option<u32> {
    let side = u32::try_from(value?.as_u64()?).ok()?;
    (1..=4096).contains(&side).then_some(side)
}

/// Three numbers, or one for all channels.
fn three(value: Option<&Value>) -> Option<[f32; 3]> {
    let number = |value: &Value| value.as_f64().map(|number| number as f32);
    match value? {
        Value::Array(list) => match &list[..] {
            [one] => Some([number(one)?; 3]),
            [a, b, c] => Some([number(a)?, number(b)?, number(c)?]),
            _ => None,
        },
        one => Some([number(one)?; 3]),
    }
}
