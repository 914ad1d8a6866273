//! The optional parameters of a prediction, from the query, the form or the JSON body.

use crate::config::parse_flag;
use crate::error::ApiError;
use crate::excerpt::quoted;
use derm::{Colormap, Drawing, Explain, Layer, Method, Request, Scale, Size};
use serde::de::DeserializeOwned;

/// Longest value that is read.
pub(crate) const MAX_VALUE: usize = 1024;

/// Every name that is not ignored.
pub(crate) const NAMES: [&str; 15] = [
    "model", "top_k", "tta", "smooth", "gradcam", "method", "class", "layer", "scale", "output",
    "size", "colormap", "alpha", "contour", "lang",
];

/// Whether this is the name of a parameter; others are ignored.
pub(crate) fn is_parameter(name: &str) -> bool {
    NAMES.contains(&name)
}

/// Most classes that one request may have explained.
const MOST_CLASSES: usize = 32;

/// The parameters of a prediction. A later value of the same name wins.
#[derive(Debug, Clone, Default)]
pub(crate) struct Parameters {
    top_k: Option<usize>,
    gradcam: Option<bool>,
    classes: Vec<String>,
    method: Method,
    layer: Option<String>,
    smooth: Option<usize>,
    scale: Scale,
    drawing: Drawing,
    size: Size,
    colormap: Colormap,
    alpha: Option<f32>,
    contour: Option<f32>,
    tta: Option<usize>,
    /// The model that is asked; `None`: the default.
    pub(crate) model: Option<String>,
    /// Language of a page.
    pub(crate) lang: Option<String>,
}

impl Parameters {
    /// The parameters of a query string.
    pub(crate) fn from_query(query: &str) -> Result<Parameters, ApiError> {
        let mut parameters = Parameters::default();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            parameters.set(&name, &value)?;
        }
        Ok(parameters)
    }

    /// Sets one parameter; unknown names are ignored, as the original application did.
    pub(crate) fn set(&mut self, name: &str, value: &str) -> Result<(), ApiError> {
        let value = value.trim();
        if value.is_empty() || !is_parameter(name) {
            return Ok(());
        }
        let bad = |reason: &str| ApiError::Parameter {
            name: name.to_owned(),
            reason: format!("{} is not valid: {reason}", quoted(value)),
        };
        if value.len() > MAX_VALUE {
            return Err(bad("it is too long"));
        }
        match name {
            "top_k" => self.top_k = Some(whole(value, 10_000).ok_or_else(|| bad(WHOLE))?),
            "tta" => self.tta = Some(whole(value, 8).ok_or_else(|| bad(UP_TO_8))?),
            "smooth" => self.smooth = Some(whole(value, 8).ok_or_else(|| bad(UP_TO_8))?),
            "gradcam" => {
                self.gradcam = Some(parse_flag(value).ok_or_else(|| bad("give true or false"))?);
            }
            "method" => self.method = one_of(value).ok_or_else(|| bad(&one_of_methods()))?,
            "class" => {
                let names = value.split(',').map(|name| name.trim().to_owned());
                self.classes = names.filter(|name| !name.is_empty()).collect();
                if self.classes.len() > MOST_CLASSES {
                    return Err(bad("name fewer classes"));
                }
            }
            "layer" => self.layer = (value != "auto").then(|| value.to_owned()),
            "scale" => self.scale = one_of(value).ok_or_else(|| bad("give minmax or max"))?,
            "output" => {
                let drawing = one_of(value);
                self.drawing =
                    drawing.ok_or_else(|| bad("give overlay, heatmap, mask, json or npy"))?;
            }
            "size" => self.size = one_of(value).ok_or_else(|| bad("give input or upload"))?,
            "colormap" => {
                let colormap = one_of(value);
                self.colormap =
                    colormap.ok_or_else(|| bad("give jet, viridis, inferno or turbo"))?;
            }
            "alpha" => self.alpha = Some(fraction(value).ok_or_else(|| bad(FRACTION))?),
            "contour" => self.contour = Some(fraction(value).ok_or_else(|| bad(FRACTION))?),
            "model" => self.model = Some(value.to_owned()),
            "lang" => self.lang = Some(value.to_owned()),
            _ => {}
        }
        Ok(())
    }

    /// The request that they make; with an explanation unless it is declined or `enabled` is false: then its
    /// parameters are only checked.
    pub(crate) fn request(&self, enabled: bool) -> Request {
        let mut request = Request::default().with_tta(self.tta.unwrap_or(1));
        request.top_k = self.top_k;
        if enabled && self.gradcam.unwrap_or(true) {
            request.with_explain(self.explain())
        } else {
            request.with_declined(self.explain())
        }
    }

    fn explain(&self) -> Explain {
        let mut explain = Explain::new(self.method)
            .with_classes(&self.classes)
            .with_scale(self.scale)
            .with_drawing(self.drawing)
            .with_size(self.size)
            .with_colormap(self.colormap);
        explain.layer = self.layer.clone().map_or(Layer::Last, Layer::Named);
        explain.smooth = self.smooth.unwrap_or(explain.smooth);
        explain.alpha = self.alpha.unwrap_or(explain.alpha);
        explain.contour = self.contour;
        explain
    }

    /// Whether the client asked for a heatmap explicitly.
    pub(crate) fn insists_on_gradcam(&self) -> bool {
        self.gradcam == Some(true)
    }
}

const WHOLE: &str = "give a whole number from 1";
const UP_TO_8: &str = "give a whole number from 1 to 8";
const FRACTION: &str = "give a number from 0 to 1";

/// A whole number from 1 to `most`; JSON has no other numbers than `3.0`.
fn whole(value: &str, most: usize) -> Option<usize> {
    let number: f64 = value.parse().ok()?;
    (number.fract() == 0.0 && (1.0..=most as f64).contains(&number)).then_some(number as usize)
}

/// A number from 0 to 1.
fn fraction(value: &str) -> Option<f32> {
    value.parse().ok().filter(|fraction| (0.0..=1.0).contains(fraction))
}

fn one_of_methods() -> String {
    let names: Vec<String> = Method::ALL.iter().map(Method::to_string).collect();
    format!("give one of {}", names.join(", "))
}

/// The variant of this name, as the enum's `Deserialize` spells it.
fn one_of<T: DeserializeOwned>(name: &str) -> Option<T> {
    serde_json::from_value(serde_json::Value::String(name.to_owned())).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_can_be_chosen() {
        let query = "top_k=3&class=mel,%20nv&layer=a/b&output=heatmap&colormap=turbo&alpha=0.7&\
                     method=gradcam%2B%2B&tta=8&smooth=4&contour=0.5&scale=max";
        let request = Parameters::from_query(query).unwrap().request(true);
        let explain = request.explain.unwrap();
        assert_eq!((request.top_k, request.tta), (Some(3), 8));
        assert_eq!(explain.classes, ["mel", "nv"]);
        assert_eq!((explain.method, explain.smooth), (Method::GradCamPlusPlus, 4));
        assert_eq!((explain.contour, explain.scale), (Some(0.5), Scale::Max));
        assert_eq!(explain.layer, Layer::Named("a/b".to_owned()));
        assert_eq!((explain.drawing, explain.colormap), (Drawing::Heatmap, Colormap::Turbo));
        assert_eq!(explain.alpha, 0.7);
    }

    #[test]
    fn every_method_has_a_name() {
        for method in Method::ALL {
            let mut parameters = Parameters::default();
            parameters.set("method", &method.to_string()).unwrap();
            assert_eq!(parameters.method, method);
        }
    }

    #[test]
    fn a_heatmap_is_the_default_and_can_be_declined_or_disabled() {
        let of = |query: &str, enabled| Parameters::from_query(query).unwrap().request(enabled);
        assert!(of("", true).explain.is_some());
        assert!(of("gradcam=", true).explain.is_some());
        assert!(of("gradcam=false", true).explain.is_none());
        assert!(of("gradcam=1", false).explain.is_none());
    }

    #[test]
    fn a_whole_number_may_be_written_as_json_writes_it() {
        for query in ["top_k=3", "top_k=3.0", "top_k=3e0", "top_k=%203%20"] {
            assert_eq!(Parameters::from_query(query).unwrap().request(true).top_k, Some(3));
        }
    }

    #[test]
    fn bad_values_are_named() {
        for query in [
            "top_k=0",
            "top_k=-1",
            "top_k=x",
            "tta=0",
            "tta=9",
            "scale=min",
            "top_k=2.5",
            "top_k=inf",
            "top_k=1e300",
            "alpha=NaN",
            "alpha=2",
            "alpha=-0.1",
            "alpha=inf",
            "gradcam=maybe",
            "colormap=rainbow",
            "output=pdf",
            "size=large",
            "smooth=0",
            "contour=1.5",
            "method=magic",
        ] {
            let error = Parameters::from_query(query).unwrap_err();
            let name = query.split('=').next().unwrap();
            assert!(matches!(&error, ApiError::Parameter { name: n, .. } if n == name), "{error}");
        }
    }

    #[test]
    fn a_long_value_is_refused_unless_its_name_is_unknown() {
        let long = "x".repeat(MAX_VALUE + 1);
        for name in NAMES {
            assert!(Parameters::default().set(name, &long).is_err(), "{name}");
        }
        assert!(Parameters::default().set("csrf", &long).is_ok());
    }
}
