//! Networks for tests, of seeded weights.

#![allow(dead_code)] // each test file uses its part

use derm_gradcam::{Explainer, Layer};
use derm_model::{EngineOptions, Graph, ModelSource, PackedWeightCache, Plan};
use derm_onnx::ModelProto;
use derm_onnx::message::{
    AttributeProto, AttributeType, DataType, GraphProto, Message, MessageField, NodeProto,
    TensorProto, ValueInfoProto,
};
use derm_preprocess::{RgbImage, Spec};

const SIDE: u32 = 32;

pub(crate) const MANIFEST: &str = "name = \"small\"\noutput = \"logits\"\n[input]\nheight = 32\nwidth = 32\n\
    mean = [0.5, 0.5, 0.5]\nstd = [0.5, 0.5, 0.5]\n\
    [[classes]]\nid = \"a\"\n[[classes]]\nid = \"b\"\n[[classes]]\nid = \"c\"\n[[classes]]\nid = \"d\"\n";

/// A stem with ReLU6, a depthwise convolution behind a `Pad` that is computed, batch normalisation, a
/// residual sum, squeeze-and-excitation, and a fully connected layer.
pub(crate) fn float(seed: u64) -> ModelProto {
    let clip = [("six", vec![], vec![6.0f32]), ("zero", vec![], vec![0.0])];
    let weights: [(&str, &[i64]); 13] = [
        ("stem.w", &[16, 3, 3, 3]),
        ("stem.b", &[16]),
        ("depthwise.w", &[16, 1, 3, 3]),
        ("point.w", &[16, 16, 1, 1]),
        ("bn.gain", &[16]),
        ("bn.shift", &[16]),
        ("bn.mean", &[16]),
        ("bn.variance", &[16]),
        ("gate.w", &[16, 16, 1, 1]),
        ("gate.b", &[16]),
        ("head.w", &[4, 16]),
        ("head.b", &[4]),
        ("depthwise.b", &[16]),
    ];
    let mut tensors: Vec<TensorProto> =
        weights.iter().map(|(name, dims)| tensor(name, dims, &[])).collect();
    tensors.extend(clip.iter().map(|(name, dims, values)| tensor(name, dims, values)));
    tensors.push(integers("pads.begin", &[0, 0, 1, 1]));
    tensors.push(integers("pads.end", &[0, 0, 1, 1]));
    let nodes = vec![
        node("Conv", &["input", "stem.w", "stem.b"], "stem")
            .with_ints("strides", &[2, 2])
            .with_ints("pads", &[1, 1, 1, 1]),
        node("Clip", &["stem", "zero", "six"], "stem.clip"),
        node("Concat", &["pads.begin", "pads.end"], "pads").with_int("axis", 0),
        node("Pad", &["stem.clip", "pads"], "padded"),
        node("Conv", &["padded", "depthwise.w", "depthwise.b"], "depthwise").with_int("group", 16),
        node("Relu", &["depthwise"], "depthwise.relu"),
        node("Conv", &["depthwise.relu", "point.w"], "point"),
        node(
            "BatchNormalization",
            &["point", "bn.gain", "bn.shift", "bn.mean", "bn.variance"],
            "bn",
        ),
        node("Add", &["bn", "stem.clip"], "sum"),
        node("GlobalAveragePool", &["sum"], "squeezed"),
        node("Conv", &["squeezed", "gate.w", "gate.b"], "excited"),
        node("Sigmoid", &["excited"], "gate"),
        node("Mul", &["sum", "gate"], "gated"),
        node("ReduceMean", &["gated"], "flat").with_ints("axes", &[-1, 2]).with_int("keepdims", 0),
        node("Gemm", &["flat", "head.w", "head.b"], "logits").with_int("transB", 1),
    ];
    let mut model = model(tensors, nodes);
    derm_onnx::fill(&mut model, seed).unwrap();
    model
}

/// The same with classes that hardly differ: rounding changes answers.
pub(crate) fn near_ties() -> ModelProto {
    let mut model = float(7);
    let graph = model.graph.as_mut().unwrap();
    let head = graph.initializer.iter_mut().find(|tensor| tensor.name == "head.w").unwrap();
    let rows = head.raw_data.len() / 4;
    let first = head.raw_data[..rows].to_vec();
    for (class, row) in head.raw_data.chunks_mut(rows).enumerate() {
        for (weight, first) in row.chunks_mut(4).zip(first.chunks(4)) {
            let [own, first] = [&*weight, first].map(|b| f32::from_le_bytes(b.try_into().unwrap()));
            weight.copy_from_slice(&(first + own * 0.004 * class as f32).to_le_bytes());
        }
    }
    let bias = graph.initializer.iter_mut().find(|tensor| tensor.name == "head.b").unwrap();
    bias.raw_data.fill(0);
    model
}

/// Means of the picture's channels and their sum: no weights.
pub(crate) fn without_products() -> ModelProto {
    let nodes = vec![
        node("GlobalAveragePool", &["input"], "mean"),
        node("Flatten", &["mean"], "flat"),
        node("ReduceSum", &["flat", "axes"], "sum"),
        node("Concat", &["flat", "sum"], "logits").with_int("axis", 1),
    ];
    model(vec![integers("axes", &[1])], nodes)
}

fn model(initializer: Vec<TensorProto>, node: Vec<NodeProto>) -> ModelProto {
    let graph = GraphProto {
        initializer,
        node,
        input: vec![value("input", &[1, 3, 32, 32])],
        output: vec![value("logits", &[1, 4])],
        ..GraphProto::default()
    };
    // Field 1: the version of the format; field 8: that of the operators; field 2 of a graph: its name.
    let mut model = ModelProto::parse_from_bytes(&[0x08, 8, 0x42, 2, 0x10, 13]).unwrap();
    let mut named = GraphProto::parse_from_bytes(&[0x12, 1, b'g']).unwrap();
    named.initializer = graph.initializer;
    (named.node, named.input, named.output) = (graph.node, graph.input, graph.output);
    model.graph = MessageField::some(named);
    model
}

/// A float32 value of this shape: `onnx.proto` leaves types out, here they are written as bytes.
fn value(name: &str, dims: &[u8]) -> ValueInfoProto {
    let field = |number: u8, content: &[u8]| {
        [&[number << 3 | 2, u8::try_from(content.len()).unwrap()], content].concat()
    };
    let shape: Vec<u8> = dims.iter().flat_map(|&dim| field(1, &[0x08, dim])).collect();
    let tensor = [&[0x08, 1][..], &field(2, &shape)].concat();
    let bytes = [field(1, name.as_bytes()), field(2, &field(1, &tensor))].concat();
    ValueInfoProto::parse_from_bytes(&bytes).unwrap()
}

fn tensor(name: &str, dims: &[i64], values: &[f32]) -> TensorProto {
    TensorProto {
        name: name.to_owned(),
        data_type: DataType::FLOAT as i32,
        dims: dims.to_vec(),
        raw_data: values.iter().flat_map(|value| value.to_le_bytes()).collect(),
        ..TensorProto::default()
    }
}

fn integers(name: &str, values: &[i64]) -> TensorProto {
    TensorProto {
        name: name.to_owned(),
        data_type: DataType::INT64 as i32,
        dims: vec![values.len() as i64],
        int64_data: values.to_vec(),
        ..TensorProto::default()
    }
}

fn node(op_type: &str, input: &[&str], output: &str) -> NodeProto {
    NodeProto {
        op_type: op_type.to_owned(),
        input: input.iter().map(|name| (*name).to_owned()).collect(),
        output: vec![output.to_owned()],
        ..NodeProto::default()
    }
}

trait With {
    fn with_int(self, name: &str, value: i64) -> NodeProto;
    fn with_ints(self, name: &str, values: &[i64]) -> NodeProto;
}

impl With for NodeProto {
    fn with_int(mut self, name: &str, value: i64) -> NodeProto {
        self.attribute.push(AttributeProto {
            name: name.to_owned(),
            type_: AttributeType::INT.into(),
            i: value,
            ..AttributeProto::default()
        });
        self
    }

    fn with_ints(mut self, name: &str, values: &[i64]) -> NodeProto {
        self.attribute.push(AttributeProto {
            name: name.to_owned(),
            type_: AttributeType::INTS.into(),
            ints: values.to_vec(),
            ..AttributeProto::default()
        });
        self
    }
}

/// Pictures of waves and blocks of different size, brightness and colour.
pub(crate) fn pictures(count: u32) -> Vec<RgbImage> {
    let picture = |number: u32| {
        RgbImage::from_fn(SIDE, SIDE, |x, y| {
            let wave = (x * (1 + number % 5) + y * (1 + number % 3)) * 9 % 200;
            let block = (x / (4 + number % 7) + y / 8) % 2 * 55;
            let channel =
                |factor: u32| ((wave * factor / 4 + block) * (3 + number % 4) / 6).min(255) as u8;
            [channel(1 + number % 4), channel(4 - number % 3), channel(2)].into()
        })
    };
    (0..count).map(picture).collect()
}

/// The scores of a network for each picture, and the engine's operations.
pub(crate) fn scores(model: &ModelProto, pictures: &[RgbImage]) -> (Vec<Vec<f32>>, String) {
    let graph = graph(model);
    let plan =
        Plan::new(&graph, &EngineOptions::default(), &mut PackedWeightCache::default()).unwrap();
    (scores_of(&plan, pictures), plan.operators().to_string())
}

/// The scores of the plan that computes gradients, too, before it does.
pub(crate) fn scores_beside_gradient(model: &ModelProto, pictures: &[RgbImage]) -> Vec<Vec<f32>> {
    let (options, mut cache) = (EngineOptions::default(), PackedWeightCache::default());
    let explainer = Explainer::new(graph(model), &Layer::Last, &options, &mut cache).unwrap();
    assert!(explainer.why_not().is_none());
    scores_of(explainer.plan(), pictures)
}

fn graph(model: &ModelProto) -> Graph {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.onnx");
    derm_onnx::write(model, &path).unwrap();
    std::fs::write(folder.path().join("model.toml"), MANIFEST).unwrap();
    Graph::load(&ModelSource::at(&path)).unwrap()
}

fn scores_of(plan: &Plan, pictures: &[RgbImage]) -> Vec<Vec<f32>> {
    let spec = Spec { mean: [0.5; 3], std: [0.5; 3], ..Spec::square(SIDE) };
    let of = |picture: &RgbImage| {
        let run = plan.run(|to| spec.normalise(picture, to)).unwrap();
        run.output(0).iter().copied().collect()
    };
    pictures.iter().map(of).collect()
}
