//! Prints the classes of a picture, and writes an overlay that explains the most probable one.
//!
//! `classify PICTURE [MODEL [OVERLAY]]`: MODEL is a folder with `model.onnx` and `model.toml`, by
//! default the bundled one; OVERLAY is the file that is written, by default `heatmap.png`.

#![allow(clippy::print_stdout)]

use derm::{Classifier, Explain, ModelSource, Options, Request};
use std::error::Error;
use std::time::{Duration, Instant};

/// The model of this repository.
const BUNDLED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../models/derm-lite0");

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [picture, others @ ..] = &arguments[..] else {
        return Err("usage: classify PICTURE [MODEL [OVERLAY]]".into());
    };
    let model = others.first().map_or(BUNDLED, String::as_str);
    let overlay = others.get(1).map_or("heatmap.png", String::as_str);

    let classifier = Classifier::new(ModelSource::at(model), Options::default())?;
    let picture = classifier.open(std::fs::read(picture)?)?;
    let request = Request::default().with_explain(Explain::default());
    let deadline = Instant::now() + Duration::from_secs(60);
    let report = classifier.classify(&picture, &request, deadline)?;

    for prediction in &report.predictions {
        let label = report.manifest.classes[prediction.index].label_in("en");
        println!("{:5.1} %  {label}", prediction.probability * 100.0);
    }
    if report.uncertain.is_some_and(|uncertainty| uncertainty.is_uncertain()) {
        println!("the model does not know pictures of this kind");
    }
    for explanation in report.explanations.transpose()?.unwrap_or_default() {
        if let Some(file) = explanation.rendering.file() {
            std::fs::write(overlay, file)?;
            println!("{overlay} shows what speaks for {}", explanation.class);
        }
    }
    println!("A screening aid for education and research, never a diagnosis.");
    Ok(())
}
