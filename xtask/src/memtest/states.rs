//! Resident memory in each state, from the kernel (`VmRSS`, `VmHWM`).

use super::{PICTURE, environment};
use crate::server::Server;
use anyhow::ensure;
use derm::memory::MIB;
use std::path::Path;
use std::time::Duration;

/// State -> MiB, in the order of the table.
pub(crate) type States = Vec<(&'static str, f64)>;

pub(crate) fn measure(binary: &Path, model: Option<&Path>) -> anyhow::Result<States> {
    let mut variables = environment(model);
    variables.push(("MODEL_IDLE_SECONDS", "3".to_owned()));
    let server = Server::start(binary, &variables)?;
    let now = || -> anyhow::Result<f64> { Ok(server.usage()?.rss as f64 / MIB) };
    let peak = || -> anyhow::Result<f64> { Ok(server.usage()?.peak as f64 / MIB) };
    let predict = |query: &str| -> anyhow::Result<()> {
        let answer = server.post(&format!("/predict/?{query}"), "image/jpeg", PICTURE)?;
        ensure!(answer.status == 200, "{}", String::from_utf8_lossy(&answer.body));
        Ok(())
    };
    let wait = |seconds: u64| std::thread::sleep(Duration::from_secs(seconds));
    ensure!(server.get("/health/")?.status == 200, "not healthy");

    let mut states = vec![("idle", now()?)];
    server.reset_peak()?;
    // The first prediction loads; a picture of one place keeps preprocessing out of the peak.
    let tiny = tiny_picture()?;
    let answer = server.post("/predict/?gradcam=false", "image/bmp", &tiny)?;
    ensure!(answer.status == 200, "{}", String::from_utf8_lossy(&answer.body));
    let loading = peak()?;
    wait(1);
    states.push(("loaded", now()?));
    states.push(("peak while loading", loading));
    server.reset_peak()?;
    predict("gradcam=false")?;
    states.push(("peak while predicting", peak()?));
    server.reset_peak()?;
    predict("gradcam=true")?;
    states.push(("peak with Grad-CAM", peak()?));
    wait(1);
    states.push(("1 s after", now()?));
    for _ in 0..100 {
        wait(1);
        if server.memory()?["model_loaded"] == false {
            break;
        }
    }
    ensure!(server.memory()?["model_loaded"] == false, "an idle model was not unloaded");
    states.push(("unloaded", now()?));
    Ok(states)
}

/// A BMP of one pixel.
fn tiny_picture() -> anyhow::Result<Vec<u8>> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    image::RgbImage::new(1, 1).write_to(&mut bytes, image::ImageFormat::Bmp)?;
    Ok(bytes.into_inner())
}
