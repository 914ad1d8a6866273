//! The real server as a separate process, for commands that measure it.

use crate::cgroup::Cgroup;
use crate::ports::free_port;
use anyhow::{Context, bail, ensure};
use derm::memory::{MIB, Usage, usage_of};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// A running `derm-server`; killed when dropped.
pub(crate) struct Server {
    child: Child,
    port: u16,
    /// From starting the process to the first connection.
    pub(crate) start: Duration,
}

/// Status and body of a response.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
}

/// Builds the server in release mode and returns the binary.
pub(crate) fn build() -> anyhow::Result<PathBuf> {
    build_program("derm-server", "derm-server")
}

/// Builds a program of a package in release mode and returns it.
pub(crate) fn build_program(package: &str, program: &str) -> anyhow::Result<PathBuf> {
    let status = cargo()
        .args(["build", "--quiet", "--release", "--package", package])
        .status()
        .context("cargo")?;
    ensure!(status.success(), "{package} does not build");
    let name = format!("{program}{}", std::env::consts::EXE_SUFFIX);
    // This program is target/release/xtask, or target/debug/xtask.
    let here = std::env::current_exe()?;
    let target = here.ancestors().nth(2).context("target folder")?;
    Ok(target.join("release").join(name))
}

/// The cargo that runs this program, or the one in PATH.
pub(crate) fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

static PRELOAD: OnceLock<Option<PathBuf>> = OnceLock::new();

/// Preloads this library into servers that are started from now on (`LD_PRELOAD`, `ld.so(8)`).
pub(crate) fn preload(library: Option<PathBuf>) {
    let _ = PRELOAD.set(library);
}

impl Server {
    /// Starts the binary with a clean environment and these variables.
    pub(crate) fn start(binary: &Path, environment: &[(&str, String)]) -> anyhow::Result<Server> {
        Server::start_in(binary, environment, None)
    }

    /// As [`Server::start`], in a cgroup.
    pub(crate) fn start_in(
        binary: &Path,
        environment: &[(&str, String)],
        group: Option<&Cgroup>,
    ) -> anyhow::Result<Server> {
        let mut command = match group {
            None => Command::new(binary),
            Some(group) => {
                // A shell joins the cgroup and then executes the server.
                let mut shell = Command::new("/bin/sh");
                let script = r#"exe=$1; shift; for file; do echo $$ > "$file"; done; exec "$exe""#;
                shell.args(["-c", script, "sh"]).arg(binary).args(group.procs_files());
                shell
            }
        };
        command
            .env_clear()
            .env("HOST", "127.0.0.1")
            .env("RUST_LOG", "error")
            .envs(PRELOAD.get().into_iter().flatten().map(|library| ("LD_PRELOAD", library)))
            .envs(environment.iter().map(|(name, value)| (*name, value.as_str())));
        Server::start_command(command)
    }

    /// Starts any server that listens on the port of the variable PORT.
    pub(crate) fn start_command(mut command: Command) -> anyhow::Result<Server> {
        let port = free_port();
        let start = Instant::now();
        let child = command
            .env("PORT", port.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .with_context(|| format!("{command:?}"))?;
        let mut server = Server { child, port, start: Duration::ZERO };
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            if let Some(status) = server.child.try_wait()? {
                bail!("the server ended at once: {status}");
            }
            ensure!(start.elapsed() < Duration::from_secs(30), "the server does not listen");
            std::thread::sleep(Duration::from_millis(1));
        }
        server.start = start.elapsed();
        Ok(server)
    }

    /// The process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// The port it listens on.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// The kernel's figures for the process.
    pub(crate) fn usage(&self) -> anyhow::Result<Usage> {
        usage_of(self.child.id()).context("the server is gone")
    }

    /// Resident memory now, MiB.
    pub(crate) fn rss(&self) -> anyhow::Result<f64> {
        Ok(self.usage()?.rss as f64 / MIB)
    }

    /// Peak resident memory since the start or [`Server::reset_peak`], MiB.
    pub(crate) fn peak(&self) -> anyhow::Result<f64> {
        Ok(self.usage()?.peak as f64 / MIB)
    }

    /// Posts a picture; returns the body of the response.
    ///
    /// # Errors
    /// If its status is not 200.
    pub(crate) fn predict(
        &self,
        query: &str,
        kind: &str,
        picture: &[u8],
    ) -> anyhow::Result<Vec<u8>> {
        let answer = self.post(&format!("/predict/?{query}"), kind, picture)?;
        ensure!(answer.status == 200, "{}", String::from_utf8_lossy(&answer.body));
        Ok(answer.body)
    }

    /// Peak resident memory during one [`Server::predict`], MiB.
    pub(crate) fn peak_of(&self, query: &str, kind: &str, picture: &[u8]) -> anyhow::Result<f64> {
        self.reset_peak()?;
        self.predict(query, kind, picture)?;
        self.peak()
    }

    /// Resets the peak to the current resident memory (Linux; `proc_pid_clear_refs(5)`).
    pub(crate) fn reset_peak(&self) -> anyhow::Result<()> {
        std::fs::write(format!("/proc/{}/clear_refs", self.child.id()), "5")
            .context("the peak cannot be reset; memtest needs Linux")
    }

    pub(crate) fn get(&self, path: &str) -> anyhow::Result<Answer> {
        self.send(format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes())
    }

    pub(crate) fn post(&self, path: &str, kind: &str, body: &[u8]) -> anyhow::Result<Answer> {
        let length = body.len();
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: {kind}\r\n\
             Content-Length: {length}\r\n\r\n"
        );
        self.send(&[head.as_bytes(), body].concat())
    }

    /// The JSON of `GET /memory/`.
    pub(crate) fn memory(&self) -> anyhow::Result<serde_json::Value> {
        Ok(serde_json::from_slice(&self.get("/memory/")?.body)?)
    }

    /// Sends a whole request; its answer ends when the server closes the connection.
    pub(crate) fn send(&self, request: &[u8]) -> anyhow::Result<Answer> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
        stream.set_read_timeout(Some(Duration::from_secs(120)))?;
        stream.write_all(request)?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        let end = answer.windows(4).position(|four| four == b"\r\n\r\n").context("no answer")?;
        let head = String::from_utf8_lossy(&answer[..end]);
        let status = head.split(' ').nth(1).context("no status")?.parse()?;
        Ok(Answer { status, body: answer.split_off(end + 4) })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
