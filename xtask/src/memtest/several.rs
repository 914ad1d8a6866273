//! Several models within one memory limit, and several pictures in one request.

use super::crowd::scores;
use super::environment;
use super::pictures::EXAMPLE;
use crate::cgroup::{Cgroup, Limits};
use crate::server::Server;
use crate::statistics::quantile;
use anyhow::{Context, ensure};
use derm::memory::MIB;
use std::path::Path;
use std::time::Instant;

/// Models that take turns.
const MODELS: [&str; 3] = ["a", "b", "c"];
/// Growth of the peak that several pictures may cause beside their bytes, MiB: the answers, and heap.
const GROWTH: f64 = 2.0;
/// What two measurements of the same differ by.
const NOISE: f64 = 1.05;
/// Timed requests of one picture, of which the median counts.
const SINGLES: usize = 40;
/// Timed requests of several pictures, of which the median counts.
const TOGETHER: usize = 5;

/// Serves the model three times, as three models, in a cgroup of `limit_mb` MiB, and asks them in turn, Grad-CAM
/// included; returns whether all answers are those of the model alone, and nothing was killed.
pub(crate) fn rotation(
    binary: &Path,
    model: Option<&Path>,
    requests: usize,
    limit_mb: u64,
) -> anyhow::Result<bool> {
    let wanted = {
        let server = Server::start(binary, &environment(model))?;
        scores(&server.predict("gradcam=true", "image/jpeg", EXAMPLE)?)?
    };
    let folder = tempfile::tempdir()?;
    let source = model.unwrap_or(Path::new("models/derm-lite0")).canonicalize()?;
    for name in MODELS {
        std::os::unix::fs::symlink(&source, folder.path().join(name))?;
    }
    let group = match Cgroup::new(Limits { memory: Some(limit_mb << 20), cpu: None }) {
        Ok(group) => group,
        Err(error) => {
            println!("SKIPPED the rotation: no control group can be made here ({error:#})");
            return Ok(true);
        }
    };
    let server = Server::start_in(binary, &environment(Some(folder.path())), Some(&group))?;
    let mut right = 0;
    for number in 0..requests {
        let query = format!("gradcam=true&model={}", MODELS[number % MODELS.len()]);
        let answer = server.predict(&query, "image/jpeg", EXAMPLE);
        let found = scores(&answer.with_context(|| format!("request {number}"))?)?;
        right += usize::from(found == wanted);
    }
    let counted = group.counted()?;
    println!(
        "{requests} requests to {} models in turn: {right} right, {} loads; limit {limit_mb} MiB: {:.1} MiB at \
         most in the group, {:.1} MiB resident, {} killed",
        MODELS.len(),
        server.memory()?["model_loads"],
        counted.peak as f64 / MIB,
        server.peak()?,
        counted.kills
    );
    Ok(right == requests && counted.kills == 0)
}

/// Sends so many pictures in one request, and one alone; returns whether memory is that of one and their
/// bytes, and the time at most so many times that of one.
pub(crate) fn pictures(binary: &Path, model: Option<&Path>, count: usize) -> anyhow::Result<bool> {
    let server = Server::start(binary, &environment(model))?;
    let form = form(count);
    let kind = "multipart/form-data; boundary=boundary";
    let one = || server.predict("gradcam=false", "image/jpeg", EXAMPLE).map(drop);
    let all = || server.predict("gradcam=false", kind, &form);
    one()?;
    // The answer is in chunks, one for each picture or more.
    let answered = String::from_utf8_lossy(&all()?).matches("\"results\"").count();
    ensure!(answered == count, "{answered} answers to {count} pictures");
    let alone = server.peak_of("gradcam=false", "image/jpeg", EXAMPLE)?;
    let together = server.peak_of("gradcam=false", kind, &form)?;
    let mut singles = times(SINGLES, one)?;
    let mut batches = times(TOGETHER, || all().map(drop))?;
    let ratio = quantile(&mut batches, 0.5) / quantile(&mut singles, 0.5);
    let (growth, bytes) = (together - alone, form.len() as f64 / MIB);
    println!(
        "{count} pictures in one request: peak {alone:.1} MiB for one, {together:.1} for all ({growth:+.1}; their \
         bytes are {bytes:.1}); {ratio:.0} times the time of one"
    );
    Ok(growth <= bytes + GROWTH && ratio <= NOISE * count as f64)
}

/// A form with the example so many times.
fn form(count: usize) -> Vec<u8> {
    let mut form = Vec::new();
    for _ in 0..count {
        form.extend_from_slice(
            b"--boundary\r\nContent-Disposition: form-data; name=\"image\"; filename=\"x.jpg\"\r\n\r\n",
        );
        form.extend_from_slice(EXAMPLE);
        form.extend_from_slice(b"\r\n");
    }
    form.extend_from_slice(b"--boundary--\r\n");
    form
}

/// Milliseconds of each of so many runs.
fn times(count: usize, run: impl Fn() -> anyhow::Result<()>) -> anyhow::Result<Vec<f64>> {
    let time = |_| {
        let start = Instant::now();
        run()?;
        Ok(start.elapsed().as_secs_f64() * 1e3)
    };
    (0..count).map(time).collect()
}
