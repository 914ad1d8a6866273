//! Value: an input or output as the graph declares it.

use std::fmt;
use tract_onnx::pb::ValueInfoProto;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::tensor_shape_proto::dimension::Value as Dimension;
use tract_onnx::pb::type_proto::Value as TypeValue;

/// A declared input or output. Exporters declare shapes wrongly, or not at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Declared {
    pub(crate) name: String,
    /// `None`: it is no tensor, but a sequence or a map.
    pub(crate) element: Option<DataType>,
    /// `None`: not declared. A free dimension is `None`.
    pub(crate) shape: Option<Vec<Option<usize>>>,
}

impl Declared {
    pub(crate) fn read(info: &ValueInfoProto) -> Declared {
        let value = info.r#type.as_ref().and_then(|kind| kind.value.as_ref());
        let tensor = value.map(|TypeValue::TensorType(tensor)| tensor);
        let element = match (&info.r#type, tensor) {
            (None, _) => Some(DataType::Undefined),
            (Some(_), tensor) => {
                tensor.and_then(|tensor| DataType::try_from(tensor.elem_type).ok())
            }
        };
        let shape = tensor.and_then(|tensor| tensor.shape.as_ref()).map(|shape| {
            let length = |dimension: &Option<Dimension>| match dimension {
                Some(Dimension::DimValue(length)) => usize::try_from(*length).ok(),
                _ => None,
            };
            // A length of 0 is an exporter's way to write a free one.
            shape.dim.iter().map(|dim| length(&dim.value).filter(|&length| length > 0)).collect()
        });
        Declared { name: info.name.clone(), element, shape }
    }

    /// Whether it is a tensor of floating-point numbers, as far as is declared.
    pub(crate) fn may_be_scores(&self) -> bool {
        use DataType::{Bfloat16, Double, Float, Float16, Undefined};
        self.element
            .is_some_and(|element| [Float, Float16, Bfloat16, Double, Undefined].contains(&element))
    }

    /// How well the declared shape fits so many classes: 0, exactly; 1, one unit for two classes;
    /// 2, nobody knows; 3, not at all.
    pub(crate) fn fit(&self, classes: usize) -> usize {
        let Some(shape) = &self.shape else { return 2 };
        let of_one_picture = if shape.len() > 1 { &shape[1..] } else { &shape[..] };
        let units = of_one_picture.iter().try_fold(1usize, |all, dim| all.checked_mul((*dim)?));
        match units {
            None => 2,
            Some(units) if units == classes => 0,
            Some(1) if classes == 2 => 1,
            Some(_) => 3,
        }
    }
}

/// As messages show it: `"logits" float32 [?, 7]`.
impl fmt::Display for Declared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name: String = self.name.chars().take(80).collect();
        let Some(element) = self.element else {
            return write!(f, "{name:?} (a sequence or map)");
        };
        write!(f, "{name:?} {}", element_name(element))?;
        let Some(shape) = &self.shape else { return Ok(()) };
        let shown: Vec<String> =
            shape.iter().map(|dim| dim.map_or("?".to_owned(), |dim| dim.to_string())).collect();
        write!(f, " [{}]", shown.join(", "))
    }
}

/// The name of an element type, as NumPy has it.
pub(crate) fn element_name(element: DataType) -> String {
    match element {
        DataType::Float => "float32".to_owned(),
        DataType::Double => "float64".to_owned(),
        DataType::Undefined => "of an unknown type".to_owned(),
        other => format!("{other:?}").to_lowercase(),
    }
}
