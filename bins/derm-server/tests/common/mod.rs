//! The real binary, started on a port of its own, and ways to talk to it.

#![allow(clippy::unwrap_used, missing_docs, unreachable_pub, clippy::print_stderr)]
#![allow(dead_code, unused_imports)] // each test file uses its part

mod examples;
mod exposition;
mod python;
mod slow_clients;
mod slow_model;

pub use examples::{Example, examples};
pub use exposition::Exposition;
pub use python::python_with;
pub use slow_clients::{SlowClients, raise_descriptors};
pub use slow_model::SlowModel;

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Output, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Long enough for any machine: nothing waits for it unless it fails.
pub const LONG: Duration = Duration::from_secs(300);

pub struct Server {
    /// `None`: another one's process.
    child: Option<Mutex<Child>>,
    pid: u32,
    pub port: u16,
    /// Log: what the server writes to stderr, where no test reads that itself.
    log: Option<File>,
}

pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

/// The bundled model's folder.
pub fn bundled() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/derm-lite0")
}

/// Writes a copy of the bundled model into the folder, with its manifest changed.
pub fn copy_bundled(folder: &Path, change: impl FnOnce(String) -> String) {
    std::fs::copy(bundled().join("model.onnx"), folder.join("model.onnx")).unwrap();
    let manifest = std::fs::read_to_string(bundled().join("model.toml")).unwrap();
    std::fs::write(folder.join("model.toml"), change(manifest)).unwrap();
}

/// The value of a key at the top of the bundled model's manifest, without quotes.
pub fn manifest(key: &str) -> &'static str {
    let manifest = include_str!("../../../../models/derm-lite0/model.toml");
    let mut lines = manifest.lines().filter_map(|line| line.split_once(" = "));
    lines.find(|(found, _)| *found == key).unwrap().1.trim_matches('"')
}

/// A port that nothing listens on, and that no other call in this process gives. It lies below those that Linux gives
/// to outgoing connections (from 32768 on), one of which could otherwise take it before the server does.
///
/// Listening there to find out would not do: a process that another thread starts meanwhile holds the socket until it
/// executes its program, and the server finds the port taken.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = 16_384 + (std::process::id() % 8_192) as u16;
    loop {
        let port = first + NEXT.fetch_add(1, Ordering::Relaxed);
        if TcpStream::connect(("127.0.0.1", port)).is_err() {
            return port;
        }
    }
}

impl Server {
    pub fn start(environment: &[(&str, &str)]) -> Server {
        Server::start_with(environment, |_| ())
    }

    /// As [`Server::start`]; `change` changes how the process is started.
    pub fn start_with(environment: &[(&str, &str)], change: impl FnOnce(&mut Command)) -> Server {
        Server::start_at("127.0.0.1", environment, change)
    }

    /// As [`Server::start_with`]; waits until the server listens at another address.
    pub fn start_at(
        address: &str,
        environment: &[(&str, &str)],
        change: impl FnOnce(&mut Command),
    ) -> Server {
        let port = free_port();
        let mut command = command(environment);
        let log = tempfile::tempfile().unwrap();
        command.env("HOST", "127.0.0.1").env("PORT", port.to_string());
        command.stderr(log.try_clone().unwrap());
        change(&mut command);
        let child = command.spawn().unwrap();
        let pid = child.id();
        let server = Server { child: Some(Mutex::new(child)), pid, port, log: Some(log) };
        server.wait_for(address);
        server
    }

    /// A server that another one starts and ends, once it listens.
    pub fn attach(pid: u32, port: u16) -> Server {
        let server = Server { child: None, pid, port, log: None };
        server.wait_for("127.0.0.1");
        server
    }

    /// Waits until the server listens.
    fn wait_for(&self, address: &str) {
        let start = Instant::now();
        while TcpStream::connect((address, self.port)).is_err() {
            if let Some(child) = &self.child {
                let ended = child.lock().unwrap().try_wait().unwrap();
                assert!(ended.is_none(), "the server ended at once: {ended:?}");
            }
            assert!(start.elapsed() < LONG, "the server does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The pipe of its stderr, where there is one.
    pub fn stderr(&self) -> ChildStderr {
        self.child.as_ref().unwrap().lock().unwrap().stderr.take().unwrap()
    }

    pub fn pid(&self) -> u32 {
        self.pid
    }

    pub fn address(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(LONG)).unwrap();
        stream
    }

    /// Sends bytes as they are and reads until the server closes.
    pub fn raw(&self, request: &[u8]) -> Answer {
        let mut stream = self.connect();
        // The server may refuse and close before all is sent.
        let _ = stream.write_all(request);
        read_answer(&mut stream)
    }

    pub fn get(&self, path: &str) -> Answer {
        self.raw(format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes())
    }

    /// `POST` with these headers (whole lines) and this body.
    pub fn post(&self, path: &str, headers: &str, body: &[u8]) -> Answer {
        self.raw(&post_bytes(path, headers, body))
    }

    pub fn memory(&self) -> serde_json::Value {
        self.get("/memory/").json()
    }

    /// Waits until a field of `/memory/` is as it should be.
    pub fn until(&self, field: &str, holds: impl Fn(&serde_json::Value) -> bool) {
        let start = Instant::now();
        loop {
            let memory = self.memory();
            if holds(&memory[field]) {
                return;
            }
            assert!(start.elapsed() < LONG, "{field} in {memory}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub fn terminate(&self) {
        let status = Command::new("kill").arg(self.pid().to_string()).status().unwrap();
        assert!(status.success());
    }

    /// Waits for the process to end by itself.
    pub fn wait(self, limit: Duration) -> std::process::ExitStatus {
        let start = Instant::now();
        loop {
            let ended = self.child.as_ref().unwrap().lock().unwrap().try_wait().unwrap();
            if let Some(status) = ended {
                return status;
            }
            assert!(start.elapsed() < limit, "the server does not end");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let Some(child) = &self.child else { return };
        let mut child = child.lock().unwrap_or_else(PoisonError::into_inner);
        if std::thread::panicking() {
            eprintln!("the server: {:?}", child.try_wait());
            if let Some(log) = &mut self.log {
                let mut text = Vec::new();
                let _ = log.rewind().and_then(|()| log.read_to_end(&mut text));
                eprintln!("{}", String::from_utf8_lossy(&text));
            }
        }
        let _ = child.kill();
        let _ = child.wait();
    }
}

impl Answer {
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {} {}", self.head, self.text()))
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    /// The text of a JSON error.
    pub fn error(&self) -> String {
        let json = self.json();
        json["error"].as_str().unwrap_or_else(|| panic!("no error in {json}")).to_owned()
    }
}

/// The binary with a clean environment and these variables.
pub fn command(environment: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_derm-server"));
    command.env_clear().env("RUST_LOG", "warn").envs(environment.iter().copied());
    command.stdin(Stdio::null());
    command
}

pub fn output(arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    command(environment).args(arguments).output().unwrap()
}

/// Reads one answer: its head, then as many bytes as `Content-Length` says, or chunks.
pub fn read_answer(stream: &mut TcpStream) -> Answer {
    let mut bytes = Vec::new();
    let mut chunk = [0; 64 * 1024];
    loop {
        if let Some(answer) = whole_answer(&bytes) {
            return answer;
        }
        match stream.read(&mut chunk) {
            Ok(count) if count > 0 => bytes.extend_from_slice(&chunk[..count]),
            ended => panic!("no answer: {ended:?} {:?}", String::from_utf8_lossy(&bytes)),
        }
    }
}

fn whole_answer(bytes: &[u8]) -> Option<Answer> {
    let split = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&bytes[..split]).into_owned();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let mut answer = Answer { status, head, body: bytes[split + 4..].to_vec() };
    if answer.header("Transfer-Encoding") == Some("chunked") {
        answer.body = of_chunks(&answer.body)?;
        return Some(answer);
    }
    let length: usize = answer.header("Content-Length").map_or(0, |length| length.parse().unwrap());
    (answer.body.len() >= length).then_some(answer)
}

/// The body in these chunks, if all of them are there.
fn of_chunks(mut chunks: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let end = chunks.windows(2).position(|two| two == b"\r\n")?;
        let length =
            usize::from_str_radix(std::str::from_utf8(&chunks[..end]).unwrap(), 16).unwrap();
        if length == 0 {
            return Some(body);
        }
        body.extend_from_slice(chunks.get(end + 2..end + 2 + length)?);
        chunks = chunks.get(end + 2 + length + 2..)?;
    }
}

pub fn post_bytes(path: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let mut request = format!(
        "POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n"
    )
    .into_bytes();
    request.extend_from_slice(body);
    request
}

pub const FORM: &str = "Content-Type: multipart/form-data; boundary=B\r\n";

/// A form of (name, is a file, value).
pub fn form(fields: &[(&str, bool, &[u8])]) -> Vec<u8> {
    let mut body = Vec::new();
    for (name, file, value) in fields {
        let file = if *file { "; filename=\"p.jpg\"\r\nContent-Type: image/jpeg" } else { "" };
        let head = format!("--B\r\nContent-Disposition: form-data; name=\"{name}\"{file}\r\n\r\n");
        body.extend_from_slice(head.as_bytes());
        body.extend_from_slice(value);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(b"--B--\r\n");
    body
}

pub fn data(name: &str) -> Vec<u8> {
    let folder =
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../crates/derm-preprocess/tests/data");
    std::fs::read(folder.join(name)).unwrap()
}

pub fn picture() -> Vec<u8> {
    data("baseline.jpg")
}
