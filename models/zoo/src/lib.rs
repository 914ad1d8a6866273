#![doc = include_str!("../README.md")]

mod operators;

pub use operators::{Operator, operator_picture, operators, relative_error};

use ndarray::Array4;
use std::path::{Path, PathBuf};

/// The seed of the weights that golden files were made with.
pub const SEED: u64 = 0;

/// One graph of the zoo.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// Stem of the file: architecture, and opset where there are two.
    pub name: &'static str,
    /// Side of the square input, pixels.
    pub side: u32,
    /// Exported by Keras: NHWC, pixels in 0..=255, softmax at the end.
    pub keras: bool,
}

const fn torch(name: &'static str, side: u32) -> Entry {
    Entry { name, side, keras: false }
}

/// Every graph.
pub const ENTRIES: [Entry; 27] = [
    torch("efficientnet-lite0.opset13", 224),
    torch("efficientnet-lite0.opset23", 224),
    torch("efficientnet-b0.opset13", 224),
    torch("efficientnet-b0.opset23", 224),
    torch("efficientnetv2-s.opset13", 300),
    torch("efficientnetv2-s.opset23", 300),
    torch("mobilenetv2.opset13", 224),
    torch("mobilenetv2.opset23", 224),
    torch("mobilenetv3-l.opset13", 224),
    torch("mobilenetv3-l.opset23", 224),
    torch("resnet18.opset13", 224),
    torch("resnet18.opset23", 224),
    torch("resnet50.opset13", 224),
    torch("resnet50.opset23", 224),
    torch("densenet121.opset13", 224),
    torch("densenet121.opset23", 224),
    torch("convnext-t.opset13", 224),
    torch("convnext-t.opset23", 224),
    torch("deit-ti.opset13", 224),
    torch("deit-ti.opset23", 224),
    torch("vgg16.opset13", 224),
    torch("vgg16.opset23", 224),
    torch("regnety-1.6.opset13", 224),
    torch("regnety-1.6.opset23", 224),
    torch("inception-v3.opset13", 299),
    torch("inception-v3.opset23", 299),
    Entry { name: "keras-efficientnetv2-s", side: 300, keras: true },
];

/// The entry of that name.
pub fn entry(name: &str) -> Option<Entry> {
    ENTRIES.into_iter().find(|entry| entry.name == name)
}

/// A model that predicts and cannot be explained: the last hard-swish of a MobileNetV3 is a cosine.
/// Returns its folder in `folder`.
///
/// # Errors
/// As [`Entry::make`].
pub fn make_unexplained(folder: &Path) -> Result<PathBuf, derm_onnx::Error> {
    let whole = torch("mobilenetv3-l.opset23", 224).make(folder)?;
    let model_folder = folder.join("unexplained");
    let io = |source| derm_onnx::Error::Io { path: model_folder.clone(), source };
    std::fs::create_dir_all(&model_folder).map_err(io)?;
    let mut graph = derm_onnx::read(&whole.join("model.onnx"))?;
    let nodes = graph.graph.as_mut().into_iter().flat_map(|graph| graph.node.iter_mut());
    let last = nodes.filter(|node| node.op_type == "HardSwish").last();
    "Cos".clone_into(&mut last.expect("MobileNetV3 ends in one").op_type);
    derm_onnx::write(&graph, &model_folder.join("model.onnx"))?;
    std::fs::copy(whole.join("model.toml"), model_folder.join("model.toml")).map_err(io)?;
    Ok(model_folder)
}

/// Where filled models are kept: `target/zoo` of this workspace.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/zoo")
}

/// The input that golden files were made with, in -1..1 (0..=255 for NHWC, as Keras has it):
/// stripes and waves whose strength and pitch change over the picture. `golden.py` makes the same.
pub fn picture(shape: [usize; 4]) -> Array4<f32> {
    let keras = shape[3] == 3;
    let side = if keras { shape[1] } else { shape[2] };
    let value = |c: usize, y: usize, x: usize| {
        let wave = (y * (3 + c) + x * (7 - 2 * c) + (x * y) / 32) % 64;
        let block = ((x / 37) * 5 + (y / 23) * 3 + c) % 16;
        let value = wave * (y + 32) / 8 + block * 16 * (side - x) / 16;
        ((value % 512) as f32 - 256.0) / 256.0
    };
    Array4::from_shape_fn(shape, |(_, i, j, k)| {
        if keras { (value(k, i, j) + 1.0) * 127.5 } else { value(i, j, k) }
    })
}

impl Entry {
    /// The graph without weights.
    pub fn graph(&self) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("{}.onnx", self.name))
    }

    /// Fills the graph into `folder/NAME/model.onnx`, float32, with a manifest beside it; does
    /// nothing where they are. Returns `folder/NAME`.
    ///
    /// # Errors
    /// Those of reading, filling and writing.
    pub fn make(&self, folder: &Path) -> Result<PathBuf, derm_onnx::Error> {
        let model_folder = folder.join(self.name);
        let (model, manifest) = (model_folder.join("model.onnx"), model_folder.join("model.toml"));
        if model.exists() && manifest.exists() {
            return Ok(model_folder);
        }
        let io = |source| derm_onnx::Error::Io { path: model_folder.clone(), source };
        std::fs::create_dir_all(&model_folder).map_err(io)?;
        let mut graph = derm_onnx::read(&self.graph())?;
        derm_onnx::fill(&mut graph, SEED)?;
        derm_onnx::write(&graph, &model)?;
        std::fs::write(&manifest, self.manifest()).map_err(io)?;
        Ok(model_folder)
    }

    /// As [`Entry::make`], the weights narrowed to float16, in `folder/NAME.f16`.
    ///
    /// # Errors
    /// As [`Entry::make`].
    pub fn make_f16(&self, folder: &Path) -> Result<PathBuf, derm_onnx::Error> {
        let wide = self.make(folder)?;
        let model_folder = folder.join(format!("{}.f16", self.name));
        let (model, manifest) = (model_folder.join("model.onnx"), model_folder.join("model.toml"));
        if model.exists() && manifest.exists() {
            return Ok(model_folder);
        }
        let io = |source| derm_onnx::Error::Io { path: model_folder.clone(), source };
        std::fs::create_dir_all(&model_folder).map_err(io)?;
        let mut graph = derm_onnx::read(&wide.join("model.onnx"))?;
        derm_onnx::narrow(&mut graph)?;
        derm_onnx::write(&graph, &model)?;
        std::fs::copy(wide.join("model.toml"), &manifest).map_err(io)?;
        Ok(model_folder)
    }

    fn manifest(&self) -> String {
        let Entry { name, side, .. } = self;
        let (output, input) = if self.keras {
            ("softmax", "layout = \"nhwc\"\nscale = 1.0\n")
        } else {
            ("logits", "mean = [0.485, 0.456, 0.406]\nstd = [0.229, 0.224, 0.225]\n")
        };
        let classes: String =
            (0..7).map(|class| format!("\n[[classes]]\nid = \"c{class}\"\n")).collect();
        format!(
            "name = \"{name}\"\noutput = \"{output}\"\n\
             provenance = \"random weights of the zoo: classifies nothing\"\n\n\
             [input]\nheight = {side}\nwidth = {side}\n{input}\
             fit = {{ crop_shortest_side = {side} }}\n{classes}"
        )
    }
}
