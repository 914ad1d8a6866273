//! External data that the stored tensors of a file name, found without reading the file whole.

use super::protobuf::{Field, fields};
use super::{Outline, malformed, number};
use crate::Error;

/// Where a tensor's bytes lie, as the file says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ExternalData {
    /// Name of the tensor.
    pub(crate) tensor: String,
    /// Keys `location`, `offset`, `length`, and others.
    pub(crate) entries: Vec<(String, String)>,
}

/// The external data of the graph's stored tensors.
///
/// # Errors
/// [`Error::Graph`]: the file is not ONNX, or was cut short.
pub(crate) fn external_data(file: &[u8]) -> Result<Vec<ExternalData>, Error> {
    let Outline { inside, .. } = Outline::read(file)?;
    let tensors = inside.iter().filter(|field| field.number == number::GRAPH_INITIALIZER);
    let mut found = Vec::new();
    for tensor in tensors {
        found.extend(read(file, tensor).ok_or_else(malformed)?);
    }
    Ok(found)
}

/// `None` inside: the tensor lies in the file itself.
fn read(file: &[u8], tensor: &Field) -> Option<Option<ExternalData>> {
    const EXTERNAL: u64 = 1;
    let mut data = ExternalData::default();
    let mut is_external = false;
    for field in fields(file, tensor.content.clone())? {
        match field.number {
            number::TENSOR_NAME => field.text(file)?.clone_into(&mut data.tensor),
            number::TENSOR_DATA_LOCATION => {
                is_external = field.integers(file)?.first() == Some(&EXTERNAL)
            }
            number::TENSOR_EXTERNAL_DATA => {
                let (mut key, mut value) = (String::new(), String::new());
                for field in fields(file, field.content)? {
                    match field.number {
                        number::ENTRY_KEY => field.text(file)?.clone_into(&mut key),
                        number::ENTRY_VALUE => field.text(file)?.clone_into(&mut value),
                        _ => {}
                    }
                }
                data.entries.push((key, value));
            }
            _ => {}
        }
    }
    Some(is_external.then_some(data))
}
