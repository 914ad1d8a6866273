//! Resident memory in each state, from the kernel (`VmRSS`, `VmHWM`).

use super::environment;
use super::pictures::{EXAMPLE, tiny, twelve_megapixels};
use crate::server::Server;
use anyhow::ensure;
use derm::memory::{MIB, usage_of};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// Resident memory by state, MiB, in the table's order.
pub(crate) type States = Vec<(&'static str, f64)>;

/// Memory over time, and the start of each state.
pub(crate) struct Samples {
    /// Seconds, MiB.
    pub(crate) points: Vec<(f64, f64)>,
    pub(crate) marks: Vec<(f64, &'static str)>,
}

pub(crate) fn measure(binary: &Path, model: Option<&Path>) -> anyhow::Result<(States, Samples)> {
    let mut variables = environment(model);
    variables.push(("MODEL_IDLE_SECONDS", "3".to_owned()));
    let start = Instant::now();
    let server = Server::start(binary, &variables)?;
    let done = AtomicBool::new(false);
    let mut marks = Vec::new();
    std::thread::scope(|scope| {
        let points = scope.spawn(|| {
            let mut points = Vec::new();
            while !done.load(Relaxed) {
                if let Some(usage) = usage_of(server.id()) {
                    points.push((start.elapsed().as_secs_f64(), usage.rss as f64 / MIB));
                }
                std::thread::sleep(Duration::from_millis(2));
            }
            points
        });
        let mark = |name| marks.push((start.elapsed().as_secs_f64(), name));
        let states = states(&server, mark);
        done.store(true, Relaxed);
        let points = points.join().unwrap_or_default();
        Ok((states?, Samples { points, marks }))
    })
}

fn states(server: &Server, mut mark: impl FnMut(&'static str)) -> anyhow::Result<States> {
    let wait = || std::thread::sleep(Duration::from_secs(1));
    let large = twelve_megapixels()?;
    ensure!(server.get("/health/")?.status == 200, "not healthy");

    mark("idle");
    wait();
    let mut states = vec![("idle", server.rss()?)];
    // The first prediction loads the model; a picture of one pixel keeps preprocessing out of the peak.
    mark("load");
    let loading = server.peak_of("gradcam=false", "image/bmp", &tiny()?)?;
    wait();
    states.push(("loaded", server.rss()?));
    states.push(("peak while loading", loading));
    mark("predict");
    states.push(("peak while predicting", server.peak_of("gradcam=false", "image/jpeg", EXAMPLE)?));
    wait();
    mark("Grad-CAM");
    states.push(("peak with Grad-CAM", server.peak_of("gradcam=true", "image/jpeg", EXAMPLE)?));
    wait();
    states.push(("1 s after", server.rss()?));
    mark("12 megapixels");
    let peak = server.peak_of("gradcam=true", "image/jpeg", &large)?;
    states.push(("peak, 12 megapixels, Grad-CAM", peak));
    for _ in 0..100 {
        wait();
        if server.memory()?["model_loaded"] == false {
            break;
        }
    }
    mark("unloaded");
    ensure!(server.memory()?["model_loaded"] == false, "an idle model was not unloaded");
    states.push(("unloaded", server.rss()?));
    wait();
    Ok(states)
}
