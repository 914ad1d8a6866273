//! The requests of the soak test: right ones, wrong ones, and clients that go away.

use super::pictures::{EXAMPLE, tiny};
use crate::server::Server;
use anyhow::ensure;
use rustix::process::{Pid, Signal, kill_process};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

/// Requests between two reloads of the model.
const RELOAD: usize = 250;
/// A reload may take so many hundredths of a second.
const RELOAD_TICKS: usize = 6000;

/// Sends requests in turn, each with what must come of it.
pub(super) struct Mixture<'a> {
    server: &'a Server,
    pixel: Vec<u8>,
}

impl Mixture<'_> {
    pub(super) fn new(server: &Server) -> anyhow::Result<Mixture<'_>> {
        Ok(Mixture { server, pixel: tiny()? })
    }

    /// Sends the request of this number.
    ///
    /// # Errors
    /// If its answer is not the one that it must have.
    pub(super) fn send(&self, number: usize) -> anyhow::Result<()> {
        if number % RELOAD == RELOAD - 1 {
            self.reload()?;
        }
        let predict = "POST /predict/?gradcam=false HTTP/1.1\r\nHost: x\r\nConnection: close\r\n";
        match number % 16 {
            0 => self.server.predict("gradcam=true", "image/jpeg", EXAMPLE).map(drop),
            1 => self.server.predict("gradcam=false", "image/jpeg", EXAMPLE).map(drop),
            2 => self.server.predict("gradcam=true", "image/bmp", &self.pixel).map(drop),
            3 => self.expect("image/jpeg", &EXAMPLE[..EXAMPLE.len() / 2], &[200, 400]),
            4 => self.expect("image/jpeg", b"no picture", &[400, 415]),
            5 => self.expect("application/json", b"{\"image\":", &[400]),
            6 => self.expect("multipart/form-data", b"--", &[400]),
            7 => self.other("HEAD", "/health/", 200),
            8 => self.other("DELETE", "/predict/", 405),
            9 => self.other("GET", "/no/such/page", 404),
            10 => self.other("GET", "/", 200),
            11 => self.leave(&format!("{predict}Content-Length: 100000\r\n\r\nhalf a body"), false),
            12 => self.leave("GET /health/ HTTP/1.1\r\nX-Half: a he", false),
            13 => self.leave("GET /example.jpg HTTP/1.1\r\nHost: x\r\n\r\n", false),
            14 => self.chunked(predict),
            _ => self.leave(&format!("{predict}Content-Length: 1\r\n\r\nx"), true),
        }
    }

    /// Reloads the model, and waits until it is served.
    pub(super) fn reload(&self) -> anyhow::Result<()> {
        let loads = || Ok::<_, anyhow::Error>(self.server.memory()?["model_loads"].as_u64());
        let before = loads()?;
        let process = i32::try_from(self.server.id()).ok().and_then(Pid::from_raw);
        kill_process(process.ok_or_else(|| anyhow::anyhow!("no process"))?, Signal::HUP)?;
        for _ in 0..RELOAD_TICKS {
            if loads()? != before {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        anyhow::bail!("the model was not reloaded")
    }

    fn expect(&self, kind: &str, body: &[u8], statuses: &[u16]) -> anyhow::Result<()> {
        let status = self.server.post("/predict/?gradcam=false", kind, body)?.status;
        ensure!(statuses.contains(&status), "{kind}: {status} instead of {statuses:?}");
        Ok(())
    }

    fn other(&self, method: &str, path: &str, expected: u16) -> anyhow::Result<()> {
        let head = format!("{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        let status = self.server.send(head.as_bytes())?.status;
        ensure!(status == expected, "{method} {path}: {status} instead of {expected}");
        Ok(())
    }

    /// The picture in chunks of no announced length.
    fn chunked(&self, head: &str) -> anyhow::Result<()> {
        let mut request =
            format!("{head}Content-Type: image/jpeg\r\nTransfer-Encoding: chunked\r\n\r\n")
                .into_bytes();
        for chunk in EXAMPLE.chunks(10_000) {
            request.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
            request.extend_from_slice(chunk);
            request.extend_from_slice(b"\r\n");
        }
        request.extend_from_slice(b"0\r\n\r\n");
        let status = self.server.send(&request)?.status;
        ensure!(status == 200, "in chunks: {status}");
        Ok(())
    }

    /// A client that goes away after so much; or closes its side only, and reads its answer.
    fn leave(&self, request: &str, reads: bool) -> anyhow::Result<()> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.server.port()))?;
        stream.set_read_timeout(Some(Duration::from_secs(120)))?;
        stream.write_all(request.as_bytes())?;
        if reads {
            stream.shutdown(Shutdown::Write)?;
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer)?;
            ensure!(answer.starts_with(b"HTTP/1.1 4"), "half-closed: {} bytes", answer.len());
        }
        Ok(())
    }
}
