//! The optional parameters of a prediction, from the query, the form or the JSON body.

use crate::config::parse_flag;
use crate::error::ApiError;
use derm::{Colormap, Drawing, Explain, Layer, Method, Request, Size};
use serde::de::DeserializeOwned;

/// Longest value that is read.
pub(crate) const MAX_VALUE: usize = 1024;

/// Most classes that one request may have explained.
const MOST_CLASSES: usize = 32;

/// What a client may choose. A later value of the same name wins.
#[derive(Debug, Clone, Default)]
pub(crate) struct Parameters {
    top_k: Option<usize>,
    gradcam: Option<bool>,
    classes: Vec<String>,
    method: Method,
    layer: Option<String>,
    smooth: Option<usize>,
    drawing: Drawing,
    size: Size,
    colormap: Colormap,
    alpha: Option<f32>,
    contour: Option<f32>,
    tta: Option<usize>,
    /// Language of a page.
    pub(crate) lang: Option<String>,
}

impl Parameters {
    /// Those of a query string.
    pub(crate) fn from_query(query: &str) -> Result<Parameters, ApiError> {
        let mut parameters = Parameters::default();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            parameters.set(&name, &value)?;
        }
        Ok(parameters)
    }

    /// Takes one parameter; names that mean nothing here are let pass, as the original did.
    pub(crate) fn set(&mut self, name: &str, value: &str) -> Result<(), ApiError> {
        let value = value.trim();
        if value.is_empty() {
            return Ok(());
        }
        let bad = |reason: &str| ApiError::Parameter {
            name: name.to_owned(),
            reason: format!("{:?} is not valid: {reason}", shortened(value)),
        };
        if value.len() > MAX_VALUE {
            return Err(bad("it is too long"));
        }
        match name {
            "top_k" => {
                let top_k = value.parse().ok().filter(|top_k| (1..=10_000).contains(top_k));
                self.top_k = Some(top_k.ok_or_else(|| bad("give a whole number from 1"))?);
            }
            "tta" => {
                let tta = value.parse().ok().filter(|tta| (1..=8).contains(tta));
                self.tta = Some(tta.ok_or_else(|| bad("give a whole number from 1 to 8"))?);
            }
            "gradcam" => {
                self.gradcam = Some(parse_flag(value).ok_or_else(|| bad("give true or false"))?);
            }
            "method" => {
                self.method = one_of(value).ok_or_else(|| bad(&one_of_methods()))?;
            }
            "class" => {
                let names = value.split(',').map(|name| name.trim().to_owned());
                self.classes = names.filter(|name| !name.is_empty()).collect();
                if self.classes.len() > MOST_CLASSES {
                    return Err(bad("name fewer classes"));
                }
            }
            "smooth" => {
                let smooth = value.parse().ok().filter(|smooth| (1..=8).contains(smooth));
                self.smooth = Some(smooth.ok_or_else(|| bad("give a whole number from 1 to 8"))?);
            }
            "layer" => self.layer = (value != "auto").then(|| value.to_owned()),
            "output" => {
                self.drawing =
                    one_of(value).ok_or_else(|| bad("give overlay, heatmap, mask, json or npy"))?;
            }
            "size" => {
                self.size = one_of(value).ok_or_else(|| bad("give input or upload"))?;
            }
            "colormap" => {
                self.colormap =
                    one_of(value).ok_or_else(|| bad("give jet, viridis, inferno or turbo"))?;
            }
            "alpha" => {
                self.alpha = Some(share(value).ok_or_else(|| bad("give a number from 0 to 1"))?);
            }
            "contour" => {
                self.contour = Some(share(value).ok_or_else(|| bad("give a number from 0 to 1"))?);
            }
            "lang" => self.lang = Some(value.to_owned()),
            _ => {}
        }
        Ok(())
    }

    /// The request that they make; a heatmap unless it is declined or `enabled` is false.
    pub(crate) fn request(&self, enabled: bool) -> Request {
        let defaults = Explain::default();
        let wanted = enabled && self.gradcam.unwrap_or(true);
        let explain = wanted.then(|| Explain {
            classes: self.classes.clone(),
            method: self.method,
            layer: self.layer.clone().map_or(Layer::Last, Layer::Named),
            drawing: self.drawing,
            size: self.size,
            colormap: self.colormap,
            smooth: self.smooth.unwrap_or(defaults.smooth),
            alpha: self.alpha.unwrap_or(defaults.alpha),
            contour: self.contour,
        });
        Request { top_k: self.top_k, explain, tta: self.tta.unwrap_or(1) }
    }

    /// Whether the client asked for a heatmap in so many words.
    pub(crate) fn insists_on_gradcam(&self) -> bool {
        self.gradcam == Some(true)
    }
}

/// A number from 0 to 1.
fn share(value: &str) -> Option<f32> {
    value.parse().ok().filter(|share| (0.0..=1.0).contains(share))
}

fn one_of_methods() -> String {
    let names: Vec<String> = Method::ALL.iter().map(Method::to_string).collect();
    format!("give one of {}", names.join(", "))
}

/// The variant of this name, as the enum's `Deserialize` spells it.
fn one_of<T: DeserializeOwned>(name: &str) -> Option<T> {
    serde_json::from_value(serde_json::Value::String(name.to_owned())).ok()
}

fn shortened(value: &str) -> String {
    value.chars().take(40).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_can_be_chosen() {
        let query = "top_k=3&class=mel,%20nv&layer=a/b&output=heatmap&colormap=turbo&alpha=0.7&\
                     method=gradcam%2B%2B&tta=8&smooth=4&contour=0.5";
        let request = Parameters::from_query(query).unwrap().request(true);
        let explain = request.explain.unwrap();
        assert_eq!((request.top_k, request.tta), (Some(3), 8));
        assert_eq!(explain.classes, ["mel", "nv"]);
        assert_eq!((explain.method, explain.smooth), (Method::GradCamPlusPlus, 4));
        assert_eq!(explain.contour, Some(0.5));
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
    fn bad_values_are_named() {
        for query in [
            "top_k=0",
            "top_k=-1",
            "top_k=x",
            "tta=0",
            "tta=9",
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
        let long = format!("class={}", "x".repeat(MAX_VALUE + 1));
        assert!(Parameters::from_query(&long).is_err());
    }
}
