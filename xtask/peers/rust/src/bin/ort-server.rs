//! actix-web around onnxruntime (crate `ort`): what a Rust programmer would write instead of derm.
//! The model is loaded on first use; one inference at a time for each of THREADS connections.
//!
//! Environment: PORT, MODEL (an ONNX file, NCHW), SIDE, THREADS; ORT_DYLIB_PATH is ort's own.

use actix_web::{App, HttpResponse, HttpServer, error::ErrorInternalServerError, web};
use image::imageops::FilterType;
use ort::session::Session;
use ort::value::TensorRef;
use std::error::Error;
use std::sync::Mutex;

struct State {
    file: String,
    side: usize,
    /// Sessions that nobody uses: as many exist as inferences ran at once.
    idle: Mutex<Vec<Session>>,
}

#[actix_web::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let variable = |name| std::env::var(name).map_err(|_| format!("{name} is not set"));
    let (port, threads) = (variable("PORT")?.parse()?, variable("THREADS")?.parse()?);
    let state = web::Data::new(State {
        file: variable("MODEL")?,
        side: variable("SIDE")?.parse()?,
        idle: Mutex::default(),
    });
    let app = move || {
        App::new().app_data(state.clone()).app_data(web::PayloadConfig::new(8 << 20)).route("/predict/", web::post().to(predict))
    };
    HttpServer::new(app).workers(threads).worker_max_blocking_threads(1).bind(("127.0.0.1", port))?.run().await?;
    Ok(())
}

async fn predict(state: web::Data<State>, body: web::Bytes) -> actix_web::Result<HttpResponse> {
    let p = web::block(move || classify(&state, &body)).await?.map_err(ErrorInternalServerError)?;
    Ok(HttpResponse::Ok().content_type("application/json").body(format!("{{\"results\": {p:?}}}")))
}

fn open(file: &str) -> ort::Result<Session> {
    Ok(Session::builder()?.with_intra_threads(1)?.commit_from_file(file)?)
}

fn classify(state: &State, picture: &[u8]) -> Result<Vec<f32>, Box<dyn Error + Send + Sync>> {
    let picture = image::load_from_memory(picture)?;
    let side = state.side;
    let picture = picture.resize_exact(side as u32, side as u32, FilterType::Triangle).to_rgb8();
    let input = ndarray::Array4::from_shape_fn([1, 3, side, side], |(_, channel, y, x)| {
        f32::from(picture.get_pixel(x as u32, y as u32)[channel]) / 255.0
    });
    let kept = state.idle.lock().map_err(|error| error.to_string())?.pop();
    let mut session = match kept {
        Some(session) => session,
        None => open(&state.file).map_err(|error| error.to_string())?,
    };
    let p = {
        let outputs = session.run(ort::inputs![TensorRef::from_array_view(&input)?])?;
        let (_, logits) = outputs[0].try_extract_tensor::<f32>()?;
        let most = logits.iter().copied().fold(f32::MIN, f32::max);
        let p: Vec<f32> = logits.iter().map(|logit| (logit - most).exp()).collect();
        let sum: f32 = p.iter().sum();
        p.into_iter().map(|p| p / sum).collect()
    };
    state.idle.lock().map_err(|error| error.to_string())?.push(session);
    Ok(p)
}
