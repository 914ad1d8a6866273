//! Model files: reading inlines external data, writing is atomic.

use crate::Error;
use crate::messages::tensor_proto::DataLocation;
use crate::messages::{ModelProto, TensorProto};
use crate::tensor::for_each_tensor;
use protobuf::Message;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Component, Path};

/// Reads a model. External data, in other files of its folder, is inlined.
///
/// # Errors
/// [`Error::Io`], [`Error::NotOnnx`], [`Error::ExternalData`].
pub fn read(path: &Path) -> Result<ModelProto, Error> {
    let bytes =
        std::fs::read(path).map_err(|source| Error::Io { path: path.to_owned(), source })?;
    let not_onnx = |reason: String| Error::NotOnnx { path: path.to_owned(), reason };
    let mut model =
        ModelProto::parse_from_bytes(&bytes).map_err(|error| not_onnx(error.to_string()))?;
    if model.graph.is_none() {
        return Err(not_onnx("it has no graph".to_owned()));
    }
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut result = Ok(());
    for_each_tensor(&mut model, &mut |tensor| {
        if result.is_ok() && tensor.data_location.enum_value() == Ok(DataLocation::EXTERNAL) {
            result = inline(tensor, folder);
        }
    });
    result.map(|()| model)
}

/// Writes a model atomically: to a temporary file in the same folder, which is then renamed.
///
/// # Errors
/// [`Error::Io`]; an existing file is then unchanged.
pub fn write(model: &ModelProto, path: &Path) -> Result<(), Error> {
    let io = |source| Error::Io { path: path.to_owned(), source };
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(io)?;
    let bytes = model.write_to_bytes().map_err(|error| io(std::io::Error::other(error)))?;
    file.write_all(&bytes).map_err(io)?;
    file.as_file().sync_all().map_err(io)?;
    make_readable(file.as_file()).map_err(io)?;
    file.persist(path).map_err(|error| io(error.error))?;
    Ok(())
}

/// Temporary files are readable by their owner only; a model is readable by everyone.
fn make_readable(file: &std::fs::File) -> std::io::Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        file.set_permissions(std::fs::Permissions::from_mode(0o644))?;
    }
    let _ = file;
    Ok(())
}

/// Inlines external data (ONNX specification: keys `location`, `offset`, `length`).
fn inline(tensor: &mut TensorProto, folder: &Path) -> Result<(), Error> {
    let name = tensor.name.clone();
    let invalid = |reason: String| Error::ExternalData { tensor: name.clone(), reason };
    let value = |key: &str| {
        tensor.external_data.iter().find(|entry| entry.key == key).map(|entry| entry.value.as_str())
    };
    let number = |key: &str| match value(key).map(str::parse::<u64>) {
        Some(Ok(number)) => Ok(Some(number)),
        Some(Err(_)) => Err(invalid(format!("{key} is not a number"))),
        None => Ok(None),
    };
    let location = Path::new(value("location").ok_or_else(|| invalid("no location".to_owned()))?);
    if !location.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir)) {
        return Err(invalid(format!("{} leaves the model's folder", location.display())));
    }
    let (offset, length) = (number("offset")?.unwrap_or(0), number("length")?);
    let path = folder.join(location);
    let io = |source| Error::Io { path: path.clone(), source };
    let mut file = std::fs::File::open(&path).map_err(io)?;
    let available = file.metadata().map_err(io)?.len().saturating_sub(offset);
    let length = length.unwrap_or(available);
    if length > available {
        return Err(invalid(format!("{length} bytes are declared, the file has {available}")));
    }
    file.seek(SeekFrom::Start(offset)).map_err(io)?;
    let mut data = vec![0; length as usize];
    file.read_exact(&mut data).map_err(io)?;
    tensor.raw_data = data;
    tensor.external_data.clear();
    tensor.data_location = DataLocation::DEFAULT.into();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::messages::{GraphProto, StringStringEntryProto};
    use protobuf::MessageField;

    /// A model in a temporary folder whose one tensor is in `weights.bin`, bytes 2 to 10.
    fn external(location: &str, length: &str) -> (tempfile::TempDir, std::path::PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("weights.bin"), (0u8..16).collect::<Vec<_>>()).unwrap();
        let entry = |key: &str, value: &str| StringStringEntryProto {
            key: key.to_owned(),
            value: value.to_owned(),
            ..StringStringEntryProto::default()
        };
        let tensor = TensorProto {
            name: "w".to_owned(),
            data_type: crate::tensor::FLOAT,
            dims: vec![2],
            data_location: DataLocation::EXTERNAL.into(),
            external_data: vec![
                entry("location", location),
                entry("offset", "2"),
                entry("length", length),
            ],
            ..TensorProto::default()
        };
        let graph = GraphProto { initializer: vec![tensor], ..GraphProto::default() };
        let model = ModelProto { graph: MessageField::some(graph), ..ModelProto::default() };
        let path = folder.path().join("model.onnx");
        write(&model, &path).unwrap();
        (folder, path)
    }

    #[test]
    fn external_data_comes_inline() {
        let (_folder, path) = external("weights.bin", "8");
        let tensor = read(&path).unwrap().graph.initializer[0].clone();
        assert_eq!(tensor.raw_data, (2u8..10).collect::<Vec<_>>());
        assert!(tensor.external_data.is_empty());
    }

    #[test]
    fn external_data_stays_in_the_folder_and_within_its_file() {
        for (location, length) in
            [("../weights.bin", "8"), ("/etc/passwd", "8"), ("weights.bin", "999")]
        {
            let (_folder, path) = external(location, length);
            assert!(matches!(read(&path), Err(Error::ExternalData { .. })), "{location} {length}");
        }
    }

    #[test]
    fn files_that_are_not_models_are_errors() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.onnx");
        assert!(matches!(read(&path), Err(Error::Io { .. })));
        std::fs::write(&path, b"no model").unwrap();
        assert!(matches!(read(&path), Err(Error::NotOnnx { .. })));
    }

    #[test]
    fn unknown_fields_round_trip() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../models/zoo/resnet18.opset23.onnx");
        let folder = tempfile::tempdir().unwrap();
        let copy = folder.path().join("copy.onnx");
        let model = read(path.as_ref()).unwrap();
        write(&model, &copy).unwrap();
        assert_eq!(read(&copy).unwrap(), model);
        // Field 2, the producer's name, is one that the schema leaves out.
        let producer = model.special_fields.unknown_fields().get(2);
        let Some(protobuf::UnknownValueRef::LengthDelimited(name)) = producer else { panic!() };
        assert_eq!(name, b"pytorch");
    }

    /// RTen does not read packed dimensions.
    #[test]
    fn dimensions_are_written_unpacked() {
        let tensor = TensorProto { dims: vec![2, 3], ..TensorProto::default() };
        assert_eq!(tensor.write_to_bytes().unwrap(), [8, 2, 8, 3]);
    }
}
