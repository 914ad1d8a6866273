//! From an ONNX file to a typed, simplified graph whose inputs and outputs are the manifest's.

use crate::file::ModelFile;
use crate::guard::{first_line, guarded};
use crate::simplify::simplify;
use crate::skeleton::{Skeleton, skeleton};
use crate::{Error, Manifest, ModelSource, OpenModel, operators};
use derm_engine::{Bytes, Constants, StoredWeights};
use std::collections::HashSet;
use std::path::Path;
use tract_onnx::data_resolver::ModelDataResolver;
use tract_onnx::prelude::*;
use tract_onnx::tract_core::floats::FloatPrecisionTranslator;
use tract_onnx::tract_core::transform::ModelTransform;
use tract_onnx::tract_hir::internal::{DimLike, Factoid, format_err};

/// A classifier's graph: one input of [`derm_preprocess::Spec::shape`], its first output
/// `[1, classes]`, and after it what the manifest and the caller name.
#[derive(Debug)]
pub struct Graph {
    typed: TypedModel,
    weights: StoredWeights,
    manifest: Arc<Manifest>,
    names: Names,
}

/// Names in the file by which a layer can be named.
#[derive(Debug)]
struct Names {
    nodes: HashSet<String>,
    /// Values whose node has another name.
    values: Vec<String>,
}

impl Graph {
    /// Reads, checks and simplifies a model.
    ///
    /// # Errors
    /// Every [`Error`] but [`Error::NoSuchLayer`] and [`Error::Run`].
    pub fn load(source: &ModelSource) -> Result<Graph, Error> {
        Graph::load_keeping(source, None)
    }

    /// As [`Graph::load`]; the value named `layer` (an ONNX node or one of its outputs) becomes
    /// the graph's last output, so that no simplification removes it.
    ///
    /// # Errors
    /// As [`Graph::load`], and [`Error::NoSuchLayer`].
    pub fn load_keeping(source: &ModelSource, layer: Option<&str>) -> Result<Graph, Error> {
        let manifest = match source {
            ModelSource::Opened(model) => Arc::clone(model.manifest()),
            source => Arc::new(source.manifest()?),
        };
        let (typed, weights, names) = guarded("reading", || typed_model(source, &manifest, layer))?;
        Ok(Graph { typed, weights, manifest, names })
    }

    /// The manifest it was checked against.
    pub fn manifest(&self) -> &Arc<Manifest> {
        &self.manifest
    }

    /// The outlet of the scores, `[1, classes]`.
    ///
    /// # Errors
    /// None on a graph that was loaded.
    pub fn scores(&self) -> TractResult<OutletId> {
        Ok(self.typed.output_outlets()?[0])
    }

    /// The outlet of the manifest's `uncertain.output`: one number.
    ///
    /// # Errors
    /// None on a graph that was loaded.
    pub fn ood_score(&self) -> TractResult<Option<OutletId>> {
        let outputs = self.typed.output_outlets()?;
        Ok(self.manifest.uncertain.as_ref().map(|_| outputs[1]))
    }

    /// The outlet of the layer that [`Graph::load_keeping`] was asked for.
    ///
    /// # Errors
    /// None on a graph that was loaded.
    pub fn kept_layer(&self) -> TractResult<Option<OutletId>> {
        let others = 1 + usize::from(self.manifest.uncertain.is_some());
        Ok(self.typed.output_outlets()?.get(others).copied())
    }

    /// Whether [`Graph::load_keeping`] knows a layer of this name.
    pub fn has_layer(&self, name: &str) -> bool {
        self.names.nodes.contains(name)
    }

    /// Every name that [`Graph::load_keeping`] knows: those of nodes and of values.
    pub fn layer_names(&self) -> impl Iterator<Item = &str> {
        self.names.nodes.iter().chain(&self.names.values).map(String::as_str)
    }

    /// The graph itself.
    pub fn typed(&self) -> &TypedModel {
        &self.typed
    }

    /// Its large weights, which stay in the file. In the graph they are inputs, after the picture.
    pub fn weights(&self) -> &StoredWeights {
        &self.weights
    }

    /// Replaces the graph; the weights and the manifest stay.
    pub fn with_typed(self, typed: TypedModel) -> Graph {
        Graph { typed, ..self }
    }
}

fn typed_model(
    source: &ModelSource,
    manifest: &Manifest,
    layer: Option<&str>,
) -> Result<(TypedModel, StoredWeights, Names), Error> {
    let (mut model, weights) = parse(source)?;
    let names = Names {
        nodes: model.nodes().iter().map(|node| node.name.clone()).collect(),
        values: model.outlet_labels.values().cloned().collect(),
    };
    let inputs = model.input_outlets().map_err(unreadable)?.to_vec();
    let (stored, pictures): (Vec<OutletId>, Vec<OutletId>) =
        inputs.into_iter().partition(|input| weights.has(&model.node(input.node).name));
    let [input] = pictures[..] else {
        return Err(Error::Mismatch(format!("it has {} inputs, not one", pictures.len())));
    };
    let inputs: Vec<OutletId> = pictures.into_iter().chain(stored).collect();
    model.set_input_outlets(&inputs).map_err(unreadable)?;
    let datum_type = check_input(&model, input, manifest)?;
    let shape = manifest.input.shape();
    model.set_input_fact(0, datum_type.fact(shape).into()).map_err(unreadable)?;

    let mut outputs = vec![model.output_outlets().map_err(unreadable)?[0]];
    if let Some(uncertain) = &manifest.uncertain {
        let name = &uncertain.output;
        let missing = || Error::Mismatch(format!("it has no value {name:?} ([uncertain])"));
        outputs.push(find(&model, name).ok_or_else(missing)?);
    }
    if let Some(name) = layer {
        outputs.push(find(&model, name).ok_or_else(|| Error::NoSuchLayer(name.to_owned()))?);
    }
    model.select_output_outlets(&outputs).map_err(unreadable)?;

    let mut typed = model.into_typed().map_err(unreadable)?;
    operators::check(&typed).map_err(unreadable)?;
    check_output(&typed, manifest)?;
    simplify(&mut typed).map_err(unreadable)?;
    if computes_in_f16(&typed, &weights).map_err(unreadable)? {
        let to_f32 = FloatPrecisionTranslator::new(DatumType::F16, DatumType::F32);
        to_f32.transform(&mut typed).map_err(unreadable)?;
        simplify(&mut typed).map_err(unreadable)?;
    }
    Ok((typed, weights, names))
}

/// Whether a value that depends on the picture is float16. The engine computes in float32.
fn computes_in_f16(typed: &TypedModel, weights: &StoredWeights) -> TractResult<bool> {
    let constants = Constants::of(typed, weights)?;
    Ok(typed.nodes().iter().any(|node| {
        let outlet = OutletId::new(node.id, 0);
        let half = node.outputs.iter().any(|output| output.fact.datum_type == DatumType::F16);
        half && !constants.contains(outlet)
    }))
}

/// The graph, and the weights that stay in the file.
fn parse(source: &ModelSource) -> Result<(InferenceModel, StoredWeights), Error> {
    let mut onnx = operators::onnx();
    let (file, folder) = match source {
        ModelSource::Files { model, .. } => (ModelFile::open(model)?, model.parent()),
        ModelSource::Embedded { model, .. } => (ModelFile::Embedded(model), None),
        ModelSource::Opened(model) => {
            onnx.provider = Arc::new(ExternalData(Arc::clone(model)));
            (model.map()?, model.folder())
        }
    };
    let Skeleton { bytes, weights } = skeleton(file.bytes())?;
    // Reading each tensor's header has mapped the pages around it.
    file.release(0..file.bytes().len());
    let proto = onnx.proto_model_for_read(&mut &bytes[..]).map_err(unreadable)?;
    drop(bytes);
    // Weights may be in files beside the model.
    let folder = folder.and_then(Path::to_str);
    let parsed = onnx.parse(&proto, folder).map_err(unreadable)?;
    if !parsed.unresolved_inputs.is_empty() {
        let names = parsed.unresolved_inputs.join(", ");
        return Err(Error::Graph(format!("no node computes {names}")));
    }
    let model = parsed.model;
    let weights = StoredWeights::new(Arc::new(file), weights).map_err(unreadable)?;
    Ok((model, weights))
}

/// Reads external data from the files that an opened model holds.
struct ExternalData(Arc<OpenModel>);

impl ModelDataResolver for ExternalData {
    fn read_bytes_from_path(
        &self,
        buffer: &mut Vec<u8>,
        path: &Path,
        offset: usize,
        length: Option<usize>,
    ) -> TractResult<()> {
        let held = self.0.external(path);
        let file =
            held.ok_or_else(|| format_err!("{path:?} was not there when it was opened"))??;
        let end = length.map_or(Some(file.bytes().len()), |length| offset.checked_add(length));
        let bytes = end.and_then(|end| file.bytes().get(offset..end));
        let bytes = bytes.ok_or_else(|| format_err!("{path:?} is too short"))?;
        buffer.try_reserve_exact(bytes.len())?;
        buffer.extend_from_slice(bytes);
        Ok(())
    }
}

/// The declared input shape, as far as it is known, must be the manifest's; its batch must be one
/// or free. Returns the input's element type.
fn check_input(
    model: &InferenceModel,
    input: OutletId,
    manifest: &Manifest,
) -> Result<DatumType, Error> {
    let fact = model.outlet_fact(input).map_err(unreadable)?;
    let datum_type = fact.datum_type.concretize().unwrap_or(DatumType::F32);
    if ![DatumType::F32, DatumType::F16].contains(&datum_type) {
        let found = format!("its input holds {datum_type:?}, not float32 or float16");
        return Err(Error::Mismatch(found));
    }
    let expected = manifest.input.shape();
    let declared: Vec<Option<usize>> =
        fact.shape.dims().map(|dim| dim.concretize().and_then(|dim| dim.to_usize().ok())).collect();
    let agrees = fact.shape.is_open() && declared.len() <= 4
        || declared.len() == 4
            && declared.iter().zip(expected).all(|(dim, other)| dim.is_none_or(|dim| dim == other));
    if agrees {
        return Ok(datum_type);
    }
    let shown: Vec<String> =
        declared.iter().map(|dim| dim.map_or("?".to_owned(), |dim| dim.to_string())).collect();
    Err(Error::Mismatch(format!(
        "its input is [{}], the manifest's [input] makes {expected:?}",
        shown.join(", ")
    )))
}

fn check_output(typed: &TypedModel, manifest: &Manifest) -> Result<(), Error> {
    let fact = typed.output_fact(0).map_err(unreadable)?;
    let classes = manifest.classes.len();
    if fact.shape.as_concrete() != Some(&[1, classes][..]) {
        return Err(Error::Mismatch(format!(
            "its output is {:?}, the manifest has {classes} classes",
            fact.shape
        )));
    }
    if let Some(uncertain) = &manifest.uncertain {
        let shape = &typed.output_fact(1).map_err(unreadable)?.shape;
        if shape.as_concrete().is_none_or(|shape| shape.iter().product::<usize>() != 1) {
            let name = &uncertain.output;
            return Err(Error::Mismatch(format!(
                "{name:?} ([uncertain]) is {shape:?}, not one number"
            )));
        }
    }
    Ok(())
}

/// The value that a node of this name computes, or that itself has this name.
fn find(model: &InferenceModel, name: &str) -> Option<OutletId> {
    if let Ok(node) = model.node_by_name(name) {
        return Some(node.id.into());
    }
    model.find_outlet_label(name)
}

/// The innermost cause first: that is where a reader learns which operator or tensor is meant.
fn unreadable(error: TractError) -> Error {
    let mut causes: Vec<String> =
        error.chain().map(|cause| first_line(&cause.to_string())).collect();
    causes.reverse();
    causes.truncate(3);
    Error::Graph(causes.join("; in: "))
}
