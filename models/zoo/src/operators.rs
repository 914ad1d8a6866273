//! Networks of one operator each, with PyTorch's gradients: `operators/`, written by `operators.py`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

const SIDE: usize = 6;

const MANIFEST: &str = "name = \"operator\"\noutput = \"logits\"\nprovenance = \"a test\"\n\n\
    [input]\nheight = 6\nwidth = 6\nmean = [0.5, 0.5, 0.5]\nstd = [0.5, 0.5, 0.5]\n\
    fit = { crop_shortest_side = 6 }\n\n[[classes]]\nid = \"a\"\n\n[[classes]]\nid = \"b\"\n";

/// A network of one operator, with its golden values.
#[derive(Debug, Clone, PartialEq)]
pub struct Operator {
    /// The name of its file.
    pub name: String,
    /// PyTorch's scores for [`operator_picture`], two.
    pub scores: Vec<f64>,
    /// The gradient of the first score with respect to the input, `[channels, rows, columns]`.
    pub gradient: Vec<f64>,
}

#[derive(serde::Deserialize)]
struct Golden {
    scores: Vec<f64>,
    gradient: Vec<Vec<Vec<f64>>>,
}

/// All networks, sorted by name.
///
/// # Errors
/// If `operators/golden.json` cannot be read.
pub fn operators() -> std::io::Result<Vec<Operator>> {
    let text = std::fs::read_to_string(files().join("golden.json"))?;
    let golden: BTreeMap<String, Golden> = serde_json::from_str(&text)?;
    let operator = |(name, Golden { scores, gradient })| {
        let gradient = gradient.into_iter().flatten().flatten().collect();
        Operator { name, scores, gradient }
    };
    Ok(golden.into_iter().map(operator).collect())
}

impl Operator {
    /// Writes the network with a manifest to `folder/NAME`; returns that folder.
    ///
    /// # Errors
    /// Those of writing.
    pub fn make(&self, folder: &Path) -> std::io::Result<PathBuf> {
        let folder = folder.join(&self.name);
        std::fs::create_dir_all(&folder)?;
        std::fs::copy(files().join(format!("{}.onnx", self.name)), folder.join("model.onnx"))?;
        std::fs::write(folder.join("model.toml"), MANIFEST)?;
        Ok(folder)
    }
}

/// Writes the input of the golden values, `[rows, columns, channels]`.
pub fn operator_picture(input: &mut [f32]) {
    for (index, value) in input.iter_mut().enumerate() {
        let (pixel, channel) = (index / 3, index % 3);
        let number = channel * SIDE * SIDE + pixel;
        *value = (((number * 37 + 11) % 109) as f64 / 54.0 - 1.0) as f32;
    }
}

/// The relative error of values: the Euclidean norm of the difference over that of the expected values.
pub fn relative_error<'a>(found: impl IntoIterator<Item = &'a f32>, expected: &[f64]) -> f64 {
    let (mut off, mut length) = (0.0, 0.0);
    for (&found, expected) in found.into_iter().zip(expected) {
        off += (f64::from(found) - expected).powi(2);
        length += expected.powi(2);
    }
    (off / length).sqrt()
}

fn files() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("operators")
}
