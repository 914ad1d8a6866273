//! The folder in which commands of the documents run, its programs, and the server that they ask.

use crate::ports::free_port;
use std::collections::BTreeSet;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Programs of the system that commands of the documents use.
const TOOLS: [&str; 8] = ["base64", "bash", "cut", "dirname", "grep", "sed", "sh", "sleep"];
/// Programs of `xtask/tests/documents`.
const OWN: [&str; 5] = ["cargo", "check-paths", "curl", "derm", "derm-server"];

pub(crate) struct Surroundings {
    folder: TempDir,
    curl: PathBuf,
    ports: [String; 2],
    server: Child,
}

/// The repository.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
}

/// The folder of the programs that cargo has built.
fn built() -> PathBuf {
    Path::new(env!("CARGO_BIN_EXE_xtask")).parent().unwrap().to_owned()
}

fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.is_file())
}

impl Surroundings {
    /// With stand-ins for the programs that are not run. `None`: something is missing, which is said.
    pub(crate) fn make(not_run: &[&str]) -> Option<Surroundings> {
        for program in ["derm", "derm-server"].map(|name| built().join(name)) {
            if !program.exists() {
                eprintln!(
                    "SKIPPED: commands of the documents: cargo test --workspace builds {program:?}"
                );
                return None;
            }
        }
        let Some(curl) = find("curl") else {
            eprintln!("SKIPPED: commands of the documents: curl is not installed");
            return None;
        };
        let folder = tempfile::tempdir().unwrap();
        let [programs, work] = ["programs", "work"].map(|name| folder.path().join(name));
        std::fs::create_dir(&programs).unwrap();
        std::fs::create_dir(&work).unwrap();
        let own = root().join("xtask/tests/documents");
        TOOLS.iter().for_each(|name| symlink(find(name).unwrap(), programs.join(name)).unwrap());
        OWN.iter().for_each(|name| symlink(own.join(name), programs.join(name)).unwrap());
        link_children(&root(), &work);
        for name in not_run {
            let stand_in = match name.split_once('/') {
                None => programs.join(name),
                Some((parent, _)) => {
                    let parent = work.join(parent);
                    if parent.is_symlink() {
                        let original = parent.canonicalize().unwrap();
                        std::fs::remove_file(&parent).unwrap();
                        std::fs::create_dir(&parent).unwrap();
                        link_children(&original, &parent);
                    }
                    std::fs::remove_file(work.join(name)).unwrap();
                    work.join(name)
                }
            };
            if !name.contains(' ') {
                symlink(own.join("not-run"), stand_in).unwrap();
            }
        }
        fill(&work);
        let ports = [(); 2].map(|()| free_port().to_string());
        let server = start(&ports[0]);
        Some(Surroundings { folder, curl, ports, server })
    }

    /// Runs a block; with `check_only`, programs parse their arguments and do nothing.
    pub(crate) fn run(&self, source: &str, check_only: bool) -> Output {
        let [programs, work] = ["programs", "work"].map(|name| self.folder.path().join(name));
        let mut shell = Command::new(programs.join("bash"));
        shell.args(["-euo", "pipefail", "-c", source]).current_dir(&work).env_clear();
        shell.env("PATH", &programs).env("PROGRAMS", &programs).env("BUILT", built());
        shell.env("NOT_RUN", self.folder.path().join("not-run")).env("CURL", &self.curl);
        shell.env("TMPDIR", self.folder.path()).env("ADMIN_KEY", KEY);
        shell.env("PORT", &self.ports[0]).env("SPARE_PORT", &self.ports[1]);
        shell.env("CHECK_ONLY", if check_only { "1" } else { "" });
        shell.stdin(Stdio::null()).output().unwrap()
    }

    /// The programs that were asked for and not run.
    pub(crate) fn noted(&self) -> BTreeSet<String> {
        let noted = std::fs::read_to_string(self.folder.path().join("not-run")).unwrap();
        noted.lines().map(Into::into).collect()
    }
}

impl Drop for Surroundings {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

const KEY: &str = "correct-horse-battery";

fn start(port: &str) -> Child {
    let program = built().join("derm-server");
    let environment = [("HOST", "127.0.0.1"), ("PORT", port), ("ADMIN_KEY", KEY)];
    let mut server = Command::new(&program);
    let mut server = server.envs(environment).stderr(Stdio::null()).spawn().unwrap();
    let start = Instant::now();
    let mut health = Command::new(&program);
    health.arg("--health").envs(environment).stdout(Stdio::null()).stderr(Stdio::null());
    while !health.status().unwrap().success() {
        assert!(server.try_wait().unwrap().is_none(), "the server has ended");
        assert!(start.elapsed() < Duration::from_secs(300), "the server does not listen");
        std::thread::sleep(Duration::from_millis(50));
    }
    server
}

/// Links to the children of a folder, without what is built and what git holds.
fn link_children(from: &Path, to: &Path) {
    for entry in from.read_dir().unwrap() {
        let entry = entry.unwrap();
        if ![".git", "target"].iter().any(|name| entry.file_name() == *name) {
            symlink(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}

/// The files that documents name as their reader's own.
fn fill(work: &Path) {
    let example = root().join("bins/derm-server/src/page/example.jpg");
    std::fs::copy(example, work.join("picture.jpg")).unwrap();
    let (mut labels, mut split) = (String::from("image,label\n"), String::from("image,part\n"));
    let folders = ["PICTURES", "TRAINING_PICTURES", "VALIDATION_PICTURES"];
    folders.iter().for_each(|folder| std::fs::create_dir(work.join(folder)).unwrap());
    for number in 0..12u8 {
        let picture = image::RgbImage::from_fn(12, 12, |x, y| {
            image::Rgb([(20 * x) as u8, (20 * y) as u8, number.wrapping_mul(83)])
        });
        for folder in folders {
            picture.save(work.join(folder).join(format!("p{number}.png"))).unwrap();
        }
        labels += &format!("p{number},{}\n", ["benign", "malignant"][usize::from(number % 2)]);
        split += &format!("p{number},validation\n");
    }
    std::fs::write(work.join("LABELS.csv"), labels).unwrap();
    std::fs::write(work.join("SPLIT.csv"), split).unwrap();

    let networks = derm_zoo::operators().unwrap();
    let network = networks.iter().find(|network| network.name == "conv").unwrap();
    let made = network.make(work).unwrap();
    let manifest = std::fs::read_to_string(made.join("model.toml")).unwrap();
    let manifest = manifest.replace("\"a\"", "\"malignant\"").replace("\"b\"", "\"benign\"");
    std::fs::write(made.join("model.toml"), manifest).unwrap();
    std::fs::rename(made, work.join("my-model")).unwrap();
}
