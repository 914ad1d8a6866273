#![doc = include_str!("../README.md")]

mod operators;

pub use operators::{Operator, operator_picture, operators, relative_error};

use ndarray::Array4;
use std::path::{Path, PathBuf};

/// The seed of the weights of the golden files.
pub const SEED: u64 = 0;

/// One graph of the zoo.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// The file's stem: architecture, and opset where there are two.
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

/// Writes a model that predicts and cannot be explained, a MobileNetV3 whose last hard-swish is
/// replaced by a cosine, to `folder/unexplained`. Returns that folder.
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

/// The folder of the filled models: `target/zoo` of this workspace.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/zoo")
}

/// The input of the golden files, in -1..1 (0..=255 for NHWC, as Keras has it): stripes and waves whose
/// amplitude and frequency vary over the picture. `golden.py` generates the same.
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

    /// Writes the filled graph, float32, to `folder/NAME/model.onnx` with a manifest beside it, unless
    /// both exist. Returns `folder/NAME`.
    ///
    /// # Errors
    /// Those of reading, filling and writing.
    pub fn make(&self, folder: &Path) -> Result<PathBuf, derm_onnx::Error> {
        let model_folder = folder.join(self.name);
        make_once(&model_folder, |model, manifest| {
            let mut graph = derm_onnx::read(&self.graph())?;
            derm_onnx::fill(&mut graph, SEED)?;
            derm_onnx::write(&graph, model)?;
            let io = |source| derm_onnx::Error::Io { path: manifest.to_owned(), source };
            std::fs::write(manifest, self.manifest()).map_err(io)
        })?;
        Ok(model_folder)
    }

    /// As [`Entry::make`], with float16 weights, in `folder/NAME.f16`.
    ///
    /// # Errors
    /// As [`Entry::make`].
    pub fn make_f16(&self, folder: &Path) -> Result<PathBuf, derm_onnx::Error> {
        let model_folder = folder.join(format!("{}.f16", self.name));
        make_once(&model_folder, |model, manifest| {
            let wide = self.make(folder)?;
            let mut graph = derm_onnx::read(&wide.join("model.onnx"))?;
            derm_onnx::narrow(&mut graph)?;
            derm_onnx::write(&graph, model)?;
            let io = |source| derm_onnx::Error::Io { path: manifest.to_owned(), source };
            std::fs::copy(wide.join("model.toml"), manifest).map_err(io)?;
            Ok(())
        })?;
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

/// Calls `make` with the paths of a model and its manifest in `folder`, unless both exist. Tests that
/// need the same model at once wait for one of them to make it.
fn make_once(
    folder: &Path,
    make: impl FnOnce(&Path, &Path) -> Result<(), derm_onnx::Error>,
) -> Result<(), derm_onnx::Error> {
    let (model, manifest) = (folder.join("model.onnx"), folder.join("model.toml"));
    let exist = || model.exists() && manifest.exists();
    if exist() {
        return Ok(());
    }
    let io = |source| derm_onnx::Error::Io { path: folder.to_owned(), source };
    std::fs::create_dir_all(folder).map_err(io)?;
    let lock = std::fs::File::create(folder.join("lock")).map_err(io)?;
    lock.lock().map_err(io)?;
    if exist() { Ok(()) } else { make(&model, &manifest) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

    #[test]
    fn a_model_is_made_once_although_several_ask_for_it() {
        let folder = std::env::temp_dir().join(format!("derm-zoo-{}", std::process::id()));
        let made = AtomicUsize::new(0);
        let make = |model: &Path, manifest: &Path| {
            made.fetch_add(1, SeqCst);
            std::fs::write(model, "").unwrap();
            std::fs::write(manifest, "").unwrap();
            Ok(())
        };
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| make_once(&folder, make).unwrap());
            }
        });
        std::fs::remove_dir_all(&folder).unwrap();
        assert_eq!(made.into_inner(), 1);
    }
}
