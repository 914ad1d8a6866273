//! Clients that hold connections and hardly use them.

use super::{FORM, Server};
use rustix::process::{Resource, getrlimit, setrlimit};
use std::io::Write;
use std::net::{Shutdown, TcpStream};

/// What a slow client does with its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Sends the head of a request byte by byte.
    Head,
    /// Announces a body and sends it byte by byte.
    Body,
    /// Asks for more than the system's buffers hold, and reads nothing.
    Reader,
    /// Sends nothing.
    Idle,
    /// Closes its side within a request.
    HalfClosed,
}

const KINDS: [Kind; 5] = [Kind::Head, Kind::Body, Kind::Reader, Kind::Idle, Kind::HalfClosed];

/// Connections of all kinds in turn.
pub struct SlowClients(Vec<(Kind, TcpStream)>);

/// Lets this process and those that it starts have so many descriptors, or as many as it may; returns
/// how many it has.
pub fn raise_descriptors(wanted: u64) -> u64 {
    let mut limit = getrlimit(Resource::Nofile);
    let possible = limit.maximum.unwrap_or(u64::MAX).min(wanted);
    if limit.current.is_some_and(|current| current < possible) {
        limit.current = Some(possible);
        setrlimit(Resource::Nofile, limit).unwrap();
    }
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

impl SlowClients {
    /// Opens so many connections, or as many as this process may.
    pub fn open(server: &Server, count: usize) -> SlowClients {
        let possible = raise_descriptors(count as u64 + 200).saturating_sub(200) as usize;
        let kinds = KINDS.iter().copied().cycle().take(count.min(possible));
        SlowClients(kinds.map(|kind| (kind, open(server, kind))).collect())
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// One byte more from each that sends any. The server may have closed it.
    pub fn trickle(&mut self) {
        for (kind, stream) in &mut self.0 {
            if matches!(kind, Kind::Head | Kind::Body) {
                let _ = stream.write_all(b"x");
            }
        }
    }
}

fn open(server: &Server, kind: Kind) -> TcpStream {
    let mut stream = TcpStream::connect(("127.0.0.1", server.port)).unwrap();
    let (get, post) =
        ("GET /example.jpg HTTP/1.1\r\nHost: x\r\n", "POST /predict/ HTTP/1.1\r\nHost: x\r\n");
    let request = match kind {
        Kind::Head | Kind::HalfClosed => format!("{get}X-Slow: "),
        Kind::Body => format!("{post}{FORM}Content-Length: 4000000\r\n\r\n--B\r\n"),
        Kind::Reader => format!("{get}\r\n").repeat(16),
        Kind::Idle => String::new(),
    };
    // The server may have closed it for another already.
    let _ = stream.write_all(request.as_bytes());
    if kind == Kind::HalfClosed {
        let _ = stream.shutdown(Shutdown::Write);
    }
    stream
}
