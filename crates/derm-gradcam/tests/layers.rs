//! The layers of the bundled network in its two forms.

#![allow(clippy::unwrap_used, missing_docs)]

use derm_model::{Graph, ModelSource};
use std::path::Path;

fn names(folder: &str) -> Vec<String> {
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models");
    let graph = Graph::load(&ModelSource::at(models.join(folder))).unwrap();
    derm_gradcam::layers(&graph).unwrap().into_iter().map(|layer| layer.name).collect()
}

#[test]
fn a_quantised_network_has_the_layers_of_the_float_one_and_none_of_storage() {
    let (float, int8) = (names("derm-lite0"), names("derm-lite0/int8"));
    assert!(!float.is_empty());
    let missing: Vec<&String> = float.iter().filter(|name| !int8.contains(name)).collect();
    assert!(missing.is_empty(), "{missing:?}");
    let storage: Vec<&String> = int8
        .iter()
        .filter(|name| name.ends_with("QuantizeLinear") || name.ends_with("DequantizeLinear"))
        .collect();
    assert!(storage.is_empty(), "{storage:?}");
}
