//! Exporters' leavings: nodes of TensorFlow that tf2onnx could not translate and wrote into the
//! file all the same.

use tract_onnx::pb::GraphProto;

/// Operators that are none of ONNX, by the beginning of their names, and why they are there.
const LEAVINGS: [(&str, &str); 7] = [
    ("Erfc", "TensorFlow rewrote GELU"),
    ("StatelessRandom", "an augmentation layer (RandomFlip, RandomRotation, ...) was left in"),
    (
        "ImageProjectiveTransform",
        "an augmentation layer (RandomRotation, RandomZoom, ...) was left in",
    ),
    ("AdjustContrast", "an augmentation layer (RandomContrast) was left in"),
    ("AdjustHue", "an augmentation layer was left in"),
    ("AdjustSaturation", "an augmentation layer was left in"),
    ("VarHandleOp", "its variables were not stored in the graph"),
];

/// A line about the first such node.
pub(crate) fn leavings(graph: &GraphProto) -> Option<String> {
    graph.node.iter().find_map(|node| {
        let operator = node.op_type.as_str();
        let (_, why) = LEAVINGS.iter().find(|(start, _)| operator.starts_with(start))?;
        Some(format!(
            "{operator} ({:?}) is an operator of TensorFlow, not of ONNX: {why}; docs/your-own-model.md \
             shows an export that works",
            node.name.chars().take(80).collect::<String>()
        ))
    })
}
