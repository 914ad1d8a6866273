//! A model that takes as long to load as a test wants.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc::{Sender, channel};
use tempfile::TempDir;

/// The bundled model with a named pipe for its manifest: whoever reads that waits until the test
/// writes it. The server reads it once at its start, and then at each load of the model.
pub struct SlowModel {
    folder: TempDir,
    write: Sender<()>,
}

impl SlowModel {
    /// Lets the server start; a load then waits for [`SlowModel::let_load`].
    pub fn new() -> SlowModel {
        let bundled = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/derm-lite0");
        let folder = tempfile::tempdir().unwrap();
        std::fs::copy(bundled.join("model.onnx"), folder.path().join("model.onnx")).unwrap();
        let manifest = std::fs::read_to_string(bundled.join("model.toml")).unwrap();
        let pipe = folder.path().join("model.toml");
        assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let write = writer(pipe, manifest);
        let model = SlowModel { folder, write };
        model.let_load();
        model
    }

    pub fn path(&self) -> &str {
        self.folder.path().to_str().unwrap()
    }

    /// Lets one load go on, whether it has begun or not.
    pub fn let_load(&self) {
        self.write.send(()).unwrap();
    }
}

/// A thread that writes the manifest into the pipe as often as it is told.
fn writer(pipe: PathBuf, manifest: String) -> Sender<()> {
    let (sender, told) = channel::<()>();
    std::thread::spawn(move || {
        while told.recv().is_ok() {
            // Opens when the server reads.
            let Ok(mut file) = OpenOptions::new().write(true).open(&pipe) else { return };
            let _ = file.write_all(manifest.as_bytes());
        }
    });
    sender
}
