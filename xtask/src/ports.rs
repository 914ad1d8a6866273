//! Ports for servers that are started.

use std::net::TcpStream;
use std::sync::atomic::{AtomicU16, Ordering::Relaxed};

/// A port that nothing listens on, and that no other call in this process gives. It lies below those that Linux gives to
/// outgoing connections (from 32768 on): one of these could otherwise take it before the server does, even the one that
/// asks whether the server listens.
pub(crate) fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = 24_576 + (std::process::id() % 4_096) as u16;
    loop {
        let port = first + NEXT.fetch_add(1, Relaxed) % 4_096;
        if TcpStream::connect(("127.0.0.1", port)).is_err() {
            return port;
        }
    }
}
