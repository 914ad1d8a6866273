//! A model that takes as long to load as a test wants.

use super::{Server, copy_bundled};
use std::fs::OpenOptions;
use std::io::Write;
use std::path::PathBuf;
use std::process::Command;
use std::sync::mpsc::{Sender, channel};
use tempfile::TempDir;

/// The bundled model, whose manifest becomes a named pipe once the server has started: whoever reads
/// that waits until the test writes it. The server reads it at each load of the model, to tell whether
/// it has changed.
pub struct SlowModel {
    _folder: TempDir,
    write: Sender<()>,
}

impl SlowModel {
    /// A server whose loads wait for [`SlowModel::let_load`].
    pub fn serve(environment: &[(&str, &str)]) -> (SlowModel, Server) {
        let folder = tempfile::tempdir().unwrap();
        copy_bundled(folder.path(), |manifest| manifest);
        let path = folder.path().to_str().unwrap();
        let server = Server::start(&[&[("MODEL_PATH", path)], environment].concat());
        let pipe = folder.path().join("model.toml");
        let manifest = std::fs::read_to_string(&pipe).unwrap();
        std::fs::remove_file(&pipe).unwrap();
        assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let write = writer(pipe, manifest);
        (SlowModel { _folder: folder, write }, server)
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
