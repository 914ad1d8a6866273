//! The six tests of the original application's memory suite, on real memory: the suite tested its own
//! flags and passed while the process needed 1.3 GB. What is compared is anonymous memory: how many pages of the
//! binary are resident beside it depends on the page cache.

use super::environment;
use super::pictures::EXAMPLE;
use crate::process::anonymous;
use crate::server::Server;
use anyhow::ensure;
use std::path::Path;
use std::time::Duration;

type Test = fn(&Path, Option<&Path>) -> anyhow::Result<String>;

/// Runs all tests; returns whether all passed.
pub(crate) fn run(binary: &Path, model: Option<&Path>) -> anyhow::Result<bool> {
    let tests: [(&str, Test); 6] = [
        ("lazy loading", lazy_loading),
        ("model loads", model_loads),
        ("predictions work", predictions_work),
        ("Grad-CAM can be disabled", gradcam_can_be_disabled),
        ("memory cleanup works", cleanup_works),
        ("environment variables", environment_variables),
    ];
    let mut passed = 0;
    for (name, test) in tests {
        match test(binary, model) {
            Ok(found) => {
                passed += 1;
                println!("ok      {name}: {found}");
            }
            Err(error) => println!("FAILED  {name}: {error:#}"),
        }
    }
    println!("{passed} passed, {} failed", tests.len() - passed);
    Ok(passed == tests.len())
}

fn predict(server: &Server, query: &str) -> anyhow::Result<serde_json::Value> {
    Ok(serde_json::from_slice(&server.predict(query, "image/jpeg", EXAMPLE)?)?)
}

fn lazy_loading(binary: &Path, model: Option<&Path>) -> anyhow::Result<String> {
    let server = Server::start(binary, &environment(model))?;
    ensure!(server.get("/")?.status == 200, "no page");
    ensure!(server.memory()?["model_loaded"] == false, "the model was loaded before its first use");
    let (idle, before) = (server.rss()?, anonymous(server.id())?);
    predict(&server, "gradcam=false")?;
    let (loaded, after) = (server.rss()?, anonymous(server.id())?);
    ensure!(server.memory()?["model_loaded"] == true, "the model was not loaded");
    let taken = (after - before) / 1024.0;
    ensure!(taken > 2.0, "loading took {taken:.1} MiB: {idle:.1}, then {loaded:.1} MiB resident");
    let listening = server.start.as_secs_f64() * 1e3;
    Ok(format!("listening after {listening:.0} ms, {idle:.1} MiB; {loaded:.1} MiB when loaded"))
}

fn model_loads(binary: &Path, model: Option<&Path>) -> anyhow::Result<String> {
    let server = Server::start(binary, &environment(model))?;
    std::thread::scope(|scope| -> anyhow::Result<()> {
        let ask = || predict(&server, "gradcam=false").map(drop);
        let handles: Vec<_> = (0..8).map(|_| scope.spawn(ask)).collect();
        handles.into_iter().try_for_each(|handle| match handle.join() {
            Ok(result) => result,
            Err(_) => anyhow::bail!("a client panicked"),
        })
    })?;
    let loads = server.memory()?["model_loads"].clone();
    ensure!(loads == 1, "8 first requests loaded it {loads} times");
    Ok("once for 8 first requests".to_owned())
}

fn predictions_work(binary: &Path, model: Option<&Path>) -> anyhow::Result<String> {
    let server = Server::start(binary, &environment(model))?;
    let answer = predict(&server, "gradcam=true")?;
    let results = answer["results"].as_array().cloned().unwrap_or_default();
    let sum: f64 = results.iter().filter_map(|result| result["probability"].as_f64()).sum();
    ensure!(results.len() >= 2 && (sum - 100.0).abs() < 0.1, "{} classes, {sum} %", results.len());
    ensure!(answer["heatmap"].is_string(), "no heatmap: {}", answer["heatmap_error"]);
    Ok(format!("{} classes and a heatmap", results.len()))
}

fn gradcam_can_be_disabled(binary: &Path, model: Option<&Path>) -> anyhow::Result<String> {
    let mut variables = environment(model);
    variables.push(("ENABLE_GRADCAM", "false".to_owned()));
    let server = Server::start(binary, &variables)?;
    ensure!(predict(&server, "")?["heatmap"].is_null(), "a heatmap all the same");
    ensure!(server.memory()?["gradcam_enabled"] == false, "/memory/ says otherwise");
    Ok("by ENABLE_GRADCAM=false".to_owned())
}

fn cleanup_works(binary: &Path, model: Option<&Path>) -> anyhow::Result<String> {
    /// Largest accepted growth of anonymous memory over twenty predictions, MiB.
    const MARGIN: f64 = 2.0;
    let server = Server::start(binary, &environment(model))?;
    predict(&server, "gradcam=true")?;
    std::thread::sleep(Duration::from_secs(1));
    let (first, before) = (server.rss()?, anonymous(server.id())?);
    for _ in 0..20 {
        predict(&server, "gradcam=true")?;
    }
    std::thread::sleep(Duration::from_secs(1));
    let (last, peak) = (server.rss()?, server.peak()?);
    let grown = (anonymous(server.id())? - before) / 1024.0;
    ensure!(
        grown <= MARGIN,
        "{first:.1} MiB after one prediction, {last:.1} after 21; {grown:+.1} of the heap"
    );
    Ok(format!("{first:.1} MiB after one prediction, {last:.1} after 21, peak {peak:.1}"))
}

fn environment_variables(binary: &Path, model: Option<&Path>) -> anyhow::Result<String> {
    let mut variables = environment(model);
    variables.retain(|(name, _)| *name != "MAX_REQUESTS");
    variables.extend([
        ("MAX_REQUESTS", "2".to_owned()),
        ("MAX_REQUESTS_JITTER", "0".to_owned()),
        ("MAX_UPLOAD_BYTES", "40000".to_owned()),
        ("THREADS", "1".to_owned()),
        ("WORKERS", "1".to_owned()),
    ]);
    let server = Server::start(binary, &variables)?;
    for _ in 0..4 {
        predict(&server, "gradcam=false")?;
    }
    let loads = server.memory()?["model_loads"].clone();
    ensure!(loads == 2, "MAX_REQUESTS=2: 4 predictions, {loads} loads");
    let large = server.post("/predict/", "image/jpeg", &[0xff; 40_001])?;
    ensure!(large.status == 413, "MAX_UPLOAD_BYTES: {} for 40001 bytes", large.status);
    let refused = Server::start(binary, &[("THREADS", "none".to_owned())]);
    ensure!(refused.is_err(), "THREADS=none was taken");
    Ok("MAX_REQUESTS, MAX_UPLOAD_BYTES, THREADS are obeyed".to_owned())
}
