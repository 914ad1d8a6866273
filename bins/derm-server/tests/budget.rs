//! MEMORY_BUDGET_MB as a client sees it.

#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use common::{FORM, LONG, Server, form, picture};
use image::{DynamicImage, ImageFormat};
use std::io::Cursor;
use std::time::{Duration, Instant};

#[test]
fn memory_shows_what_the_budget_is_used_for() {
    let server = Server::start(&[("MEMORY_BUDGET_MB", "64"), ("MAX_REQUESTS", "0")]);
    let budget = |name: &str| server.memory()["budget"][name].clone();
    assert_eq!(budget("budget_mb"), 64.0);
    assert!(budget("weights_mb").is_null() && budget("arena_mb").is_null());
    assert_eq!(server.post("/predict/", FORM, &form(&[("image", true, &picture())])).status, 200);

    let (weights, arena) = (budget("weights_mb"), budget("arena_mb"));
    let (weights, arena) = (weights.as_f64().unwrap(), arena.as_f64().unwrap());
    assert!((6.0..8.0).contains(&weights), "3.4 million weights of two bytes: {weights}");
    assert!(arena > 1.0);
    let high_water = budget("high_water_mb").as_f64().unwrap();
    assert!(high_water >= arena, "{high_water} of an arena of {arena}");
    assert!(high_water + weights < 64.0);
    let start = Instant::now();
    while budget("idle_arenas_mb") != 0.0 || budget("reserved_mb") != 0.0 {
        assert!(start.elapsed() < LONG, "{}", server.memory());
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(budget("uploads_mb"), 0.0);
}

#[test]
fn the_weights_are_set_aside_once_whatever_is_asked() {
    let server = Server::start(&[("MEMORY_BUDGET_MB", "64"), ("MAX_REQUESTS", "0")]);
    let body = form(&[("image", true, &picture())]);
    assert_eq!(server.post("/predict/?gradcam=false", FORM, &body).status, 200);
    let available = || server.memory()["budget"]["available_mb"].clone();
    let before = available();
    // What a layer that does not exist takes is never known.
    for _ in 0..4 {
        assert_eq!(server.post("/predict/?layer=nowhere", FORM, &body).status, 422);
    }
    assert_eq!(server.post("/predict/?method=saliency", FORM, &body).status, 200);
    assert_eq!(available(), before);
}

#[test]
fn a_picture_that_can_never_fit_is_refused_from_its_header() {
    // A format that is decoded whole.
    let mut webp = Cursor::new(Vec::new());
    DynamicImage::new_rgba8(4000, 3000).write_to(&mut webp, ImageFormat::WebP).unwrap();
    let body = form(&[("image", true, webp.get_ref())]);
    let small = Server::start(&[("MEMORY_BUDGET_MB", "40")]);
    let refused = small.post("/predict/", FORM, &body);
    assert_eq!(refused.status, 413, "{}", refused.text());
    assert!(refused.error().contains("bytes of memory"), "{}", refused.error());
    assert_eq!(small.memory()["model_loads"], 0, "a refusal loads nothing");
    assert_eq!(small.post("/predict/", FORM, &form(&[("image", true, &picture())])).status, 200);

    let large = Server::start(&[("MEMORY_BUDGET_MB", "400")]);
    assert_eq!(large.post("/predict/", FORM, &body).status, 200);
}
