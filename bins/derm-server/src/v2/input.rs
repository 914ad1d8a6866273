//! Input of an inference: where its elements lie in the body, and reading them picture by picture.

use super::bad;
use super::elements::{Data, Tensors, Values, datatype, elements_of};
use super::types::{InferRequest, RequestInput, RequestOutput};
use crate::bounded::Whole;
use crate::error::ApiError;
use crate::excerpt::{excerpt, quoted};
use crate::upload::{MAX_PICTURES, Pictures, decode_json_text};
use derm::GraphInput;
use std::ops::Range;

/// Name of the input of encoded pictures.
pub(crate) const IMAGE: &str = "image";

/// The one input of a request, before it is compared with the model's.
#[derive(Debug)]
pub(crate) struct Input {
    name: String,
    datatype: String,
    shape: Vec<u64>,
    /// Where its elements lie in the body.
    data: Data,
}

/// What a body says, beside its input.
#[derive(Debug, Default)]
pub(crate) struct Asked {
    pub(crate) id: Option<String>,
    /// Fields and values as they are written.
    pub(crate) parameters: Vec<(String, String)>,
    /// Outputs are to be binary unless they say otherwise.
    pub(crate) is_binary: bool,
    pub(crate) outputs: Option<Vec<AskedOutput>>,
}

/// An output that is asked for.
#[derive(Debug)]
pub(crate) struct AskedOutput {
    pub(crate) name: String,
    pub(crate) is_binary: Option<bool>,
    pub(crate) classification: Option<u64>,
}

/// Reads a body whose first `header` bytes are JSON (`None`: all). A header of no bytes means that the
/// body is a picture's file.
///
/// # Errors
/// [`ApiError::BadRequest`].
pub(crate) fn read(body: &[u8], header: Option<usize>) -> Result<(Asked, Input), ApiError> {
    if header == Some(0) {
        return Ok((Asked::default(), Input::plain(body.len())));
    }
    let header = header.unwrap_or(body.len());
    let text = body.get(..header).ok_or_else(|| {
        let length = body.len();
        bad(format!("Inference-Header-Content-Length is {header}, the body has {length} bytes"))
    })?;
    let request: InferRequest<'_> = serde_json::from_slice(text).map_err(|error| {
        bad(format!("the body is not a request: {}", excerpt(&error.to_string())))
    })?;
    let [input] = &request.inputs[..] else {
        let count = request.inputs.len();
        return Err(bad(format!("there are {count} inputs; one is expected")));
    };
    let input = Input::read(input, body, header)?;
    Ok((Asked::read(&request)?, input))
}

impl Asked {
    fn read(request: &InferRequest<'_>) -> Result<Asked, ApiError> {
        let parameters = request.parameters.iter();
        let parameters = parameters
            .map(|(name, value)| {
                let value = value.get();
                let value = value.get(..value.len().min(MAX_PARAMETER)).unwrap_or_default();
                (name.chars().take(MAX_PARAMETER).collect(), value.to_owned())
            })
            .collect();
        let output = |output: &RequestOutput<'_>| {
            Ok(AskedOutput {
                name: output.name.to_string(),
                is_binary: output.parameters.get("binary_data")?,
                classification: whole(output.parameters.get("classification")?),
            })
        };
        let outputs = request.outputs.as_ref().filter(|outputs| !outputs.is_empty());
        Ok(Asked {
            id: request.id.as_ref().map(|id| id.chars().take(MAX_PARAMETER).collect()),
            parameters,
            is_binary: request.parameters.get("binary_data_output")?.unwrap_or(false),
            outputs: outputs.map(|all| all.iter().map(output).collect()).transpose()?,
        })
    }
}

/// Longest parameter or id that is kept: a little more than any that is valid.
const MAX_PARAMETER: usize = crate::parameters::MAX_VALUE + 16;

fn whole(number: Option<Whole>) -> Option<u64> {
    number.map(|number| number.0)
}

impl Input {
    fn plain(length: usize) -> Input {
        let (name, datatype) = (IMAGE.to_owned(), "BYTES".to_owned());
        Input { name, datatype, shape: vec![1], data: Data::Plain(0..length) }
    }

    fn read(input: &RequestInput<'_>, body: &[u8], header: usize) -> Result<Input, ApiError> {
        let name = quoted(&input.name);
        let size = whole(input.parameters.get("binary_data_size")?);
        let data = match (size, input.data) {
            (Some(_), Some(_)) => {
                return Err(bad(format!("the input {name} has both data and binary_data_size")));
            }
            (Some(size), None) => {
                let left = body.len() - header;
                if usize::try_from(size).ok() != Some(left) {
                    return Err(bad(format!(
                        "the input {name} has binary_data_size {size}; {left} bytes follow the JSON"
                    )));
                }
                Data::Binary(header..body.len())
            }
            (None, Some(data)) => {
                if body.len() != header {
                    return Err(bad("bytes follow the JSON, and no input has binary_data_size"));
                }
                let start = data.get().as_ptr().addr() - body.as_ptr().addr();
                Data::Json(start..start + data.get().len())
            }
            (None, None) => return Err(bad(format!("the input {name} has no data"))),
        };
        let (name, datatype) = (input.name.to_string(), input.datatype.to_string());
        Ok(Input { name, datatype, shape: input.shape.iter().map(|axis| axis.0).collect(), data })
    }

    /// Whether it holds encoded pictures.
    pub(crate) fn is_encoded(&self) -> bool {
        self.datatype == "BYTES"
    }

    /// The number of pictures in a shape whose axes after the first are these.
    fn count(&self, after: &[usize]) -> Result<usize, ApiError> {
        let is_same = |(given, axis): (&u64, &usize)| *given == *axis as u64;
        let count = match &self.shape[..] {
            [first, rest @ ..]
                if rest.len() == after.len() && rest.iter().zip(after).all(is_same) =>
            {
                usize::try_from(*first).ok()
            }
            _ => None,
        };
        let found = count.filter(|count| (1..=MAX_PICTURES).contains(count));
        found.ok_or_else(|| {
            let after: String = after.iter().map(|axis| format!(", {axis}")).collect();
            bad(format!(
                "the input {} has shape {:?}; [n{after}] is expected, n from 1 to {MAX_PICTURES}",
                quoted(&self.name),
                self.shape
            ))
        })
    }

    /// The encoded pictures, decoded from base64 in place if they are text.
    ///
    /// # Errors
    /// [`ApiError::BadRequest`].
    pub(crate) fn into_pictures(
        self,
        body: &mut [u8],
        max_upload: usize,
    ) -> Result<Pictures, ApiError> {
        if self.name != IMAGE {
            let name = quoted(&self.name);
            return Err(bad(format!("the input of encoded pictures is \"{IMAGE}\", not {name}")));
        }
        // A column of pictures is one of pictures.
        let count = if self.shape.len() == 2 { self.count(&[1])? } else { self.count(&[])? };
        let ranges: Vec<Range<usize>> = match self.data {
            Data::Plain(range) => vec![range],
            Data::Binary(range) => elements_of(body, range, count)?,
            Data::Json(range) => {
                let is_text = |value: &&[u8]| value.first() == Some(&b'"');
                let values = Values { text: &body[range.clone()], at: 0 };
                let mut found = Vec::new();
                for value in values {
                    if !is_text(&&body[range.clone()][value.clone()]) {
                        return Err(bad("an element of BYTES is not a string"));
                    }
                    if found.len() == count {
                        return Err(bad(format!("there are more than {count} elements")));
                    }
                    // Without the quotation marks.
                    found.push(range.start + value.start + 1..range.start + value.end - 1);
                }
                if found.len() < count {
                    return Err(bad(format!("there are {} elements of {count}", found.len())));
                }
                let decode = |text| decode_json_text(body, text, max_upload);
                return Ok(found.into_iter().map(decode).collect());
            }
        };
        let limited = |range: Range<usize>| {
            if range.len() > max_upload {
                return Err(ApiError::UploadTooLarge(max_upload));
            }
            Ok(range)
        };
        Ok(ranges.into_iter().map(limited).collect())
    }

    /// The tensors, compared with the graph's own input.
    ///
    /// # Errors
    /// [`ApiError::BadRequest`].
    pub(crate) fn into_tensors(self, body: &[u8], input: &GraphInput) -> Result<Tensors, ApiError> {
        let (name, datatype) = (quoted(&self.name), datatype(input.element));
        if self.name != input.name || self.datatype != datatype {
            return Err(bad(format!(
                "the model has no input {name} of {}; it has \"{IMAGE}\" of BYTES and {} of {datatype}",
                excerpt(&self.datatype),
                quoted(&input.name)
            )));
        }
        let count = self.count(&input.shape[1..])?;
        let each = input.shape[1..].iter().product::<usize>();
        let all = count * each;
        let found = match &self.data {
            Data::Plain(_) => 0,
            Data::Binary(range) if range.len() % input.element.bytes() != 0 => 0,
            Data::Binary(range) => range.len() / input.element.bytes(),
            Data::Json(range) => Values { text: &body[range.clone()], at: 0 }.count(),
        };
        if found != all {
            return Err(bad(format!("the input {name} has {found} elements; its shape has {all}")));
        }
        Ok(Tensors { data: self.data, at: 0, element: input.element, each, count })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use derm::ElementType;

    fn tensor(shape: &str, data: &str, element: ElementType) -> Result<Vec<f32>, ApiError> {
        let name = datatype(element);
        let body = format!(
            "{{\"inputs\": [{{\"name\": \"x\", \"shape\": {shape}, \"datatype\": \"{name}\", \"data\": {data}}}]}}"
        );
        let (_, input) = read(body.as_bytes(), None)?;
        let graph = GraphInput { name: "x".to_owned(), element, shape: [1, 1, 2, 2], factor: 1.0 };
        let mut tensors = input.into_tensors(body.as_bytes(), &graph)?;
        let mut values = Vec::new();
        for _ in 0..tensors.count() {
            values.extend(tensors.next(body.as_bytes())?);
        }
        Ok(values)
    }

    #[test]
    fn numbers_are_nested_or_flat() {
        let expected = [1.0, -2.5, 3e2, 4.0, 5.0, 6.0, 7.0, 8.0];
        for data in ["[1,-2.5,3e2,4,5,6,7,8]", "[[[[ 1, -2.5],[300.0 ,4]]],\n[[[5,6],[7,8]]]]"] {
            assert_eq!(tensor("[2, 1, 2, 2]", data, ElementType::F32).unwrap(), expected);
        }
        assert_eq!(tensor("[1,1,2,2]", "[0,1,2,255]", ElementType::U8).unwrap()[3], 255.0);
        for (shape, data) in [
            ("[1,1,2,2]", "[1,2,3]"),
            ("[1,1,2,2]", "[1,2,3,256]"),
            ("[1,1,2,2]", "[1,2,3,-1]"),
            ("[1,1,2,2]", "[1,2,3,0.5]"),
            ("[1,1,2,2]", "[1,2,3,\"4\"]"),
            ("[1,1,2,2]", "[1,2,3,null]"),
            ("[1,2,2]", "[1,2,3,4]"),
            ("[4]", "[1,2,3,4]"),
            ("[0,1,2,2]", "[]"),
            ("[18446744073709551615,1,2,2]", "[1,2,3,4]"),
            ("[1,1,2,2]", "{\"a\": 1}"),
        ] {
            let refused = tensor(shape, data, ElementType::U8);
            assert!(matches!(refused, Err(ApiError::BadRequest(_))), "{shape} {data}");
        }
    }

    #[test]
    fn damaged_requests_are_errors() {
        let binary = b"{\"inputs\":[{\"name\":\"image\",\"shape\":[2],\"datatype\":\"BYTES\",\
                       \"parameters\":{\"binary_data_size\":11}}]}\x02\0\0\0ab\x01\0\0\0c";
        let text = b"{\"inputs\":[{\"name\":\"image\",\"shape\":[2],\"datatype\":\"BYTES\",\
                     \"data\":[[\"aGVs\\u0062G8=\",\"data:;base64,aGVsbG8=\"]]}],\"outputs\":[{\"name\":\"label\"}]}";
        let tensor = b"{\"inputs\":[{\"name\":\"x\",\"shape\":[1,1,2,2],\"datatype\":\"FP32\",\
                       \"data\":[[1.5,-2],[3e1,4]]}],\"parameters\":{\"binary_data_output\":true}}";
        let graph = GraphInput {
            name: "x".to_owned(),
            element: ElementType::F32,
            shape: [1, 1, 2, 2],
            factor: 1.0,
        };
        let whole = |mut body: Vec<u8>, header: Option<usize>| {
            let (_, input) = read(&body, header)?;
            if input.is_encoded() {
                return Ok(input.into_pictures(&mut body, 100)?.len());
            }
            let mut tensors = input.into_tensors(&body, &graph)?;
            (0..tensors.count()).try_for_each(|_| tensors.next(&body).map(drop))?;
            Ok::<_, ApiError>(tensors.count())
        };
        let header = binary.len() - 11;
        for (body, header, count) in
            [(&binary[..], Some(header), 2), (&text[..], None, 2), (&tensor[..], None, 1)]
        {
            assert_eq!(whole(body.to_vec(), header).unwrap(), count);
            for end in 0..body.len() {
                let header = header.filter(|header| *header <= end);
                assert!(whole(body[..end].to_vec(), header).is_err(), "{end}");
            }
            for position in 0..body.len() {
                for bit in 0..8 {
                    let mut damaged = body.to_vec();
                    damaged[position] ^= 1 << bit;
                    // Whether it still is a request or not: there is no panic.
                    let _ = whole(damaged, header);
                }
            }
        }
    }
}
