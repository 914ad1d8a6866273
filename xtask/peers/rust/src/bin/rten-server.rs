//! RTen behind a plain HTTP server, the model loaded on first use, one inference at a time.
//!
//! Environment: PORT, MODEL (an ONNX file, NCHW), SIDE; RTEN_NUM_THREADS is RTen's own.

use image::imageops::FilterType;
use rten::Model;
use rten_tensor::NdTensor;
use rten_tensor::prelude::*;
use std::error::Error;
use tiny_http::{Response, Server};

fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let variable = |name| std::env::var(name).map_err(|_| format!("{name} is not set"));
    let side: usize = variable("SIDE")?.parse()?;
    let file = variable("MODEL")?;
    let server = Server::http(format!("127.0.0.1:{}", variable("PORT")?))?;
    let mut model = None;
    for mut request in server.incoming_requests() {
        let mut body = Vec::new();
        request.as_reader().read_to_end(&mut body)?;
        if body.is_empty() {
            request.respond(Response::from_string("ok"))?;
            continue;
        }
        let model = match &model {
            Some(model) => model,
            None => model.insert(Model::load_file(&file)?),
        };
        let answer = match predict(model, &body, side) {
            Ok(p) => Response::from_string(format!("{{\"results\": {p:?}}}")),
            Err(error) => Response::from_string(error.to_string()).with_status_code(500),
        };
        request.respond(answer)?;
    }
    Ok(())
}

fn predict(model: &Model, picture: &[u8], side: usize) -> Result<Vec<f32>, Box<dyn Error + Send + Sync>> {
    let picture = image::load_from_memory(picture)?;
    let picture = picture.resize_exact(side as u32, side as u32, FilterType::Triangle).to_rgb8();
    let input = NdTensor::from_fn([1, 3, side, side], |[_, channel, y, x]| {
        f32::from(picture.get_pixel(x as u32, y as u32)[channel]) / 255.0
    });
    let output: NdTensor<f32, 2> = model.run_one(input.into(), None)?.try_into()?;
    let most = output.iter().copied().fold(f32::MIN, f32::max);
    let p: Vec<f32> = output.iter().map(|logit| (logit - most).exp()).collect();
    let sum: f32 = p.iter().sum();
    Ok(p.into_iter().map(|p| p / sum).collect())
}
