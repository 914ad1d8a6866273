//! onnxruntime loads the quantised file and gives the same answers. Python with onnxruntime is needed: the first
//! of the interpreters that `DERM_PYTHON` names, or `python3`; where there is none, nothing is compared.

#![allow(clippy::unwrap_used, missing_docs)]

mod network;

use derm_onnx::ModelProto;
use derm_preprocess::{RgbImage, Spec};
use derm_quantize::{Settings, Silent, quantize};
use network::{MANIFEST, pictures, scores};
use std::process::Command;

const SCRIPT: &str = "\
import sys, numpy, onnxruntime
session = onnxruntime.InferenceSession(sys.argv[1], providers=['CPUExecutionProvider'])
x = numpy.fromfile(sys.argv[2], numpy.float32).reshape(-1, 32, 32, 3).transpose(0, 3, 1, 2)
for one in x:
    print(*session.run(None, {'input': numpy.ascontiguousarray(one[None])})[0][0])
";

fn python() -> Option<String> {
    let named = std::env::var("DERM_PYTHON").unwrap_or_default();
    let candidates = named.split(':').filter(|name| !name.is_empty()).chain(["python3"]);
    let has = |python: &&str| {
        let run = Command::new(python).args(["-c", "import numpy, onnxruntime"]).output();
        run.is_ok_and(|run| run.status.success())
    };
    candidates.into_iter().find(has).map(str::to_owned)
}

/// What onnxruntime answers for each picture.
fn theirs(python: &str, model: &ModelProto, pictures: &[RgbImage]) -> Vec<Vec<f32>> {
    let folder = tempfile::tempdir().unwrap();
    let [file, input] = ["model.onnx", "input.f32"].map(|name| folder.path().join(name));
    derm_onnx::write(model, &file).unwrap();
    let spec = Spec { mean: [0.5; 3], std: [0.5; 3], ..Spec::square(32) };
    let mut bytes = Vec::new();
    for picture in pictures {
        let mut values = vec![0f32; 32 * 32 * 3];
        spec.normalise(picture, &mut values);
        bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
    }
    std::fs::write(&input, bytes).unwrap();
    let run = Command::new(python).args(["-c", SCRIPT]).args([&file, &input]).output().unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    let numbers = |line: &str| line.split(' ').map(|number| number.parse().unwrap()).collect();
    String::from_utf8(run.stdout).unwrap().lines().map(numbers).collect()
}

#[test]
fn onnxruntime_gives_the_same_integers() {
    let Some(python) = python() else { return };
    for (seed, half) in [(7, false), (8, true)] {
        let mut float = network::float(seed);
        if half {
            derm_onnx::narrow(&mut float).unwrap();
        }
        let settings = Settings { max_drop: 1.0, ..Settings::default() };
        let quantized = quantize(float, MANIFEST, &pictures(24), &settings, &Silent).unwrap();
        let others = pictures(60).split_off(24);
        let theirs = theirs(&python, &quantized.model, &others);
        let (ours, _) = scores(&quantized.model, &others);
        assert_eq!(ours.len(), theirs.len());
        let pairs: Vec<(&f32, &f32)> = ours.iter().flatten().zip(theirs.iter().flatten()).collect();
        let same = pairs.iter().filter(|(a, b)| (**a - **b).abs() < 1e-5).count();
        assert!(same * 100 >= pairs.len() * 98, "{same} of {}", pairs.len());
    }
}
