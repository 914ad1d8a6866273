//! A whole request without HTTP: from a picture's bytes to predictions and the overlay's PNG.

#![allow(missing_docs)]

use criterion::{Criterion, criterion_group, criterion_main};
use derm::{Classifier, Explain, ModelSource, Options, Request};
use std::time::{Duration, Instant};

fn request(criterion: &mut Criterion) {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../models/derm-lite0");
    let classifier = Classifier::new(ModelSource::at(folder), Options::default()).expect("a model");
    let mut group = criterion.benchmark_group("request");
    group.sample_size(10);
    for (name, explain) in [("prediction", None), ("with Grad-CAM", Some(Explain::default()))] {
        let mut request = Request::default();
        request.explain = explain;
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let deadline = Instant::now() + Duration::from_secs(60);
                let picture = classifier.open(derm_benches::PICTURE).expect("a picture");
                classifier.classify(&picture, &request, deadline).expect("an answer")
            });
        });
    }
    group.finish();
}

criterion_group!(benches, request);
criterion_main!(benches);
