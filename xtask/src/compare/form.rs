//! The forms of a network that are compared, and their files.

use anyhow::ensure;
use derm_zoo::Entry;
use std::path::PathBuf;

/// Models of the zoo, in the table's order.
const ALL: [&str; 10] = [
    "efficientnetv2-s",
    "efficientnet-lite0",
    "efficientnet-b0",
    "mobilenetv2",
    "mobilenetv3-l",
    "resnet18",
    "resnet50",
    "densenet121",
    "convnext-t",
    "deit-ti",
];

/// Which files are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// Float32; derm's weights are float16.
    Float,
    /// 8 bits: the file in the QDQ format that `models/zoo/int8.py` writes.
    Int8,
}

impl Form {
    /// The models that have it, by name.
    pub(super) fn models(self) -> &'static [&'static str] {
        match self {
            Form::Float => &ALL,
            Form::Int8 => &["efficientnetv2-s", "efficientnet-lite0", "mobilenetv2", "resnet50"],
        }
    }

    /// The file that the peers read, made if there is none.
    ///
    /// # Errors
    /// If an 8-bit file is missing, or one cannot be written.
    pub(super) fn peers_file(self, entry: &Entry) -> anyhow::Result<PathBuf> {
        match self {
            Form::Float => Ok(entry.make(&derm_zoo::folder())?.join("model.onnx")),
            Form::Int8 => Ok(self.our_folder(entry)?.join("model.onnx")),
        }
    }

    /// The folder that derm reads, made if there is none.
    ///
    /// # Errors
    /// As [`Form::peers_file`].
    pub(super) fn our_folder(self, entry: &Entry) -> anyhow::Result<PathBuf> {
        let zoo = derm_zoo::folder();
        if self == Form::Float {
            return Ok(entry.make_f16(&zoo)?);
        }
        let folder = zoo.join(format!("{}.int8", entry.name));
        let is_there = folder.join("model.onnx").exists();
        ensure!(is_there, "{} is missing: models/zoo/int8.py makes it", folder.display());
        Ok(folder)
    }
}
