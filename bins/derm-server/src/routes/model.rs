//! The model that is served, and what can be asked of it.

use crate::error::ApiError;
use crate::half_closed::Peer;
use crate::permits::{Demand, deadline};
use crate::state::State;
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use derm::Method;
use serde_json::json;
use std::rc::Rc;

/// `GET /model`. Loads the model if it is not: only its graph knows the layers.
pub(crate) async fn model(
    request: HttpRequest,
    state: Data<State>,
) -> Result<HttpResponse, ApiError> {
    let peer = request.conn_data::<Rc<Peer>>();
    let _in_work = peer.map(Peer::in_work);
    state.shutdown.or_cancelled(describe(&request, &state)).await
}

async fn describe(request: &HttpRequest, state: &Data<State>) -> Result<HttpResponse, ApiError> {
    let deadline = deadline(state.config.timeout());
    let demand = || match state.classifier.footprint() {
        Some(_) if state.permits.weights_kept() => Demand::Bytes(1),
        _ => Demand::Unknown,
    };
    let client = state.client(request);
    let mut permit = state.permits.inference(&client, demand, deadline).await?;
    let shared = state.clone();
    let job = state.inferences.run(move || {
        let described = shared.classifier.describe(deadline.into_std());
        if let Some(footprint) = shared.classifier.footprint() {
            shared.permits.keep_for_weights(&mut permit, footprint.weights);
        }
        described
    });
    let described = job.await?.map_err(|error| ApiError::of(error, state.config.timeout()))?;
    let layers: Vec<_> = described
        .layers
        .iter()
        .enumerate()
        .map(|(index, layer)| json!({"index": index, "name": layer.name, "shape": layer.shape}))
        .collect();
    let manifest = described.manifest;
    let classes = manifest.classes.iter();
    let classes: Vec<_> =
        classes.map(|class| json!({"class": class.id, "label": class.label_in("en")})).collect();
    Ok(HttpResponse::Ok().json(json!({
        "name": manifest.name,
        "version": manifest.version,
        "digest": described.digest,
        "license": manifest.license,
        "classes": classes,
        "input": {"width": manifest.input.width, "height": manifest.input.height},
        "methods": Method::ALL,
        "layers": layers,
    })))
}
