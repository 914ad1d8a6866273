//! Soak test: memory growth over many requests, and over many loads.

use super::environment;
use super::mixture::Mixture;
use super::pictures::tiny;
use crate::process::{Holdings, anonymous};
use crate::server::Server;
use anyhow::{Context, ensure};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

/// Largest accepted growth of anonymous memory, KiB per 1,000 requests.
const SLOPE: f64 = 1.0;
/// Growth over the whole run that is within noise, KiB: where the heap's free pages lie after a load varies by one
/// or two hundred. A run of 1,000 requests finds a leak of a KiB for each, a long one (`--soak 20000`) less.
const CHANCE: f64 = 512.0;
/// Largest accepted growth over a hundred loads, MiB.
const GROWTH: f64 = 2.0;
/// Requests between two samples.
const STEP: usize = 100;

/// Requests before the first sample: by then each kind has been sent.
const WARM: usize = 500;
/// Loads before the first sample: by then what they free has found its place between what stays.
const WARM_LOADS: usize = 10;

/// Sends requests of all kinds, reloads the model meanwhile, and fits a line to the anonymous memory of the last
/// three quarters; returns whether it stays, and whether descriptors, sockets and threads do.
///
/// A leak is in anonymous memory. How many pages of the binary are mapped depends on which code ran last, and
/// varies by a hundred KiB.
pub(crate) fn run(binary: &Path, model: Option<&Path>, requests: usize) -> anyhow::Result<bool> {
    let server = Server::start(binary, &environment(model))?;
    let mixture = Mixture::new(&server)?;
    for number in 0..WARM {
        mixture.send(number).with_context(|| format!("request {number}"))?;
    }
    for _ in 0..WARM_LOADS {
        mixture.reload()?;
    }
    let before = at_rest(&server)?;
    let (mut resident, mut heap) = (Vec::new(), Vec::new());
    for number in 0..requests {
        mixture.send(number).with_context(|| format!("request {number}"))?;
        if number % STEP == STEP - 1 {
            let thousands = number as f64 / 1000.0;
            resident.push((thousands, settled(&server)? * 1024.0));
            heap.push((thousands, anonymous(server.id())?));
        }
    }
    let after = at_rest(&server)?;
    let [resident, heap] = [&resident, &heap].map(|points| &points[points.len() / 4..]);
    let slope = theil_sen(heap);
    let change = slope * heap.len() as f64 * STEP as f64 / 1000.0;
    println!(
        "soak: {requests} mixed requests, anonymous memory changes by {slope:+.3} KiB for 1,000 requests, \
         all resident memory by {:+.3} ({:.1} MiB at the end); {before} before, {after} after; {} loads",
        theil_sen(resident),
        resident.last().map_or(0.0, |point| point.1 / 1024.0),
        server.memory()?["model_loads"]
    );
    Ok((slope <= SLOPE || change <= CHANCE) && after == before)
}

/// What the server holds when it has stayed the same for a second: a reload may still run.
fn at_rest(server: &Server) -> anyhow::Result<Holdings> {
    let mut last = Holdings::of(server.id())?;
    for _ in 0..60 {
        std::thread::sleep(Duration::from_secs(1));
        let now = Holdings::of(server.id())?;
        if now == std::mem::replace(&mut last, now) {
            break;
        }
    }
    Ok(last)
}

/// Resident memory, MiB, once housekeeping has returned what is not in use: in between it depends on which
/// request ended last.
fn settled(server: &Server) -> anyhow::Result<f64> {
    std::thread::sleep(Duration::from_millis(700));
    server.rss()
}

/// Theil-Sen estimator: the median slope of all pairs (Theil 1950, Sen 1968), robust against outliers.
fn theil_sen(points: &[(f64, f64)]) -> f64 {
    let mut slopes: Vec<f64> = points
        .iter()
        .enumerate()
        .flat_map(|(i, a)| points[..i].iter().map(move |b| (a.1 - b.1) / (a.0 - b.0)))
        .collect();
    slopes.sort_by(f64::total_cmp);
    slopes.get(slopes.len() / 2).copied().unwrap_or(0.0)
}

/// Reloads the model for each of `rounds` requests; returns whether memory does not grow and two plans
/// were never in memory together.
pub(crate) fn rounds(binary: &Path, model: Option<&Path>, rounds: usize) -> anyhow::Result<bool> {
    let mut variables = environment(model);
    variables.retain(|(name, _)| *name != "MAX_REQUESTS");
    variables.extend([("MAX_REQUESTS", "1".to_owned()), ("MAX_REQUESTS_JITTER", "0".to_owned())]);
    let server = Server::start(binary, &variables)?;
    let pixel = tiny()?;
    let ask = || server.predict("gradcam=false", "image/bmp", &pixel);
    // The first rounds warm the heap.
    for _ in 0..5 {
        ask()?;
    }
    let (first, one) = (settled(&server)?, server.peak()?);
    for _ in 0..rounds {
        ask()?;
    }
    // Two clients at once.
    let failed = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                (0..10).for_each(|_| {
                    failed.fetch_or(ask().is_err(), Relaxed);
                })
            });
        }
    });
    ensure!(!failed.load(Relaxed), "a prediction failed while the model was loaded afresh");
    let (last, most) = (settled(&server)?, server.peak()?);
    let loads = server.memory()?["model_loads"].clone();
    let weights = server.memory()?["budget"]["weights_mb"].as_f64().unwrap_or(0.0);
    println!(
        "rounds: {loads} loads, {first:.1} MiB unloaded after 5, {last:.1} MiB at the end; \
         peak {one:.1} MiB, then {most:.1} MiB (weights {weights:.1} MiB)",
    );
    // Two clients at once take a second arena, and no second set of weights.
    let one_plan = most - one < (0.8 * weights).max(4.0);
    Ok(last - first <= GROWTH && one_plan)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slope_of_a_line_survives_an_outlier() {
        let mut points: Vec<(f64, f64)> =
            (0..50).map(|i| (f64::from(i), 3.0 * f64::from(i))).collect();
        points[20].1 = 1e6;
        assert!((theil_sen(&points) - 3.0).abs() < 1e-9);
    }
}
