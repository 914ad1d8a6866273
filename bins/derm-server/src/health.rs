//! `--health`: a container's health check without curl.

use crate::config::Config;
use anyhow::{Context, ensure};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// Asks the server that listens on the configured port for `/health/`.
pub(crate) fn ask(config: &Config) -> anyhow::Result<()> {
    let host = match config.host.as_str() {
        "0.0.0.0" => "127.0.0.1",
        "::" => "::1",
        host => host,
    };
    let stream = TcpStream::connect((host, config.port));
    let mut stream = stream.with_context(|| format!("{host}:{} does not answer", config.port))?;
    stream.set_read_timeout(Some(Duration::from_secs(4)))?;
    stream.write_all(b"GET /health/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.take(4096).read_to_string(&mut answer)?;
    ensure!(answer.starts_with("HTTP/1.1 200"), "not healthy: {:?}", answer.lines().next());
    Ok(())
}
