//! From an ONNX file to a typed, simplified graph whose inputs and outputs are the manifest's.

use crate::adapt::{GraphInput, InputForm, wire_input, wire_scores};
use crate::budget::{Budget, Shared, limit};
use crate::file::ModelFile;
use crate::guard::{first_line, guarded};
use crate::rewrite::{replace_dynamic, rewrite};
use crate::signature::{Declared, Signature, computes_in, leavings, prune, to_float32};
use crate::simplify::simplify;
use crate::skeleton::{Skeleton, skeleton};
use crate::{Error, Manifest, ModelSource, OpenModel, external_data, operators};
use derm_engine::{Bytes, Stored, StoredWeights};
use std::collections::{HashMap, HashSet};
use std::path::Path;
use tract_onnx::data_resolver::ModelDataResolver;
use tract_onnx::pb::{GraphProto, ValueInfoProto};
use tract_onnx::prelude::*;
use tract_onnx::tract_core::ops::konst::Const;
use tract_onnx::tract_hir::internal::format_err;

/// A classifier's graph: one input of [`derm_preprocess::Spec::shape`] (one channel where the file
/// has one), its first output `[1, classes]`, and after it what the manifest and the caller name.
#[derive(Debug)]
pub struct Graph {
    typed: TypedModel,
    weights: StoredWeights,
    manifest: Arc<Manifest>,
    input: GraphInput,
    names: Names,
    notes: Vec<String>,
    unverified: Vec<String>,
}

/// A typed graph, before it is a [`Graph`].
struct Typed {
    model: TypedModel,
    weights: StoredWeights,
    input: GraphInput,
    names: Names,
    notes: Vec<String>,
    unverified: Vec<String>,
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
        Graph::load_keeping(source, &[])
    }

    /// As [`Graph::load`]; the values named `kept` (an ONNX node or one of its outputs) become the
    /// graph's last outputs, in this order, so that no simplification removes them.
    ///
    /// # Errors
    /// As [`Graph::load`], and [`Error::NoSuchLayer`].
    pub fn load_keeping(source: &ModelSource, kept: &[&str]) -> Result<Graph, Error> {
        let manifest = match source {
            ModelSource::Opened(model) => Arc::clone(model.manifest()),
            source => Arc::new(source.manifest()?),
        };
        let typed = guarded("reading", || typed_model(source, &manifest, kept))?;
        let Typed { model: typed, weights, input, names, notes, unverified } = typed;
        Ok(Graph { typed, weights, manifest, input, names, notes, unverified })
    }

    /// The file's own input, before it was adapted.
    pub fn input(&self) -> &GraphInput {
        &self.input
    }

    /// What a user should know of how the file was read: adaptations, and doubts about the
    /// manifest. One line each.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// The nodes of the file whose operators were not compared with onnxruntime as they are used,
    /// each with the reason. [`Plan::new`](crate::Plan::new) refuses them unless its options allow
    /// them.
    pub fn unverified(&self) -> &[String] {
        &self.unverified
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

    /// The outlet of the first value that [`Graph::load_keeping`] was asked to keep.
    ///
    /// # Errors
    /// None on a graph that was loaded.
    pub fn kept_layer(&self) -> TractResult<Option<OutletId>> {
        Ok(self.typed.output_outlets()?.get(self.kept_from()).copied())
    }

    /// The number of outputs before those that [`Graph::load_keeping`] was asked to keep.
    pub fn kept_from(&self) -> usize {
        1 + usize::from(self.manifest.uncertain.is_some())
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

/// What the file holds, ready to be typed.
struct Parsed {
    model: InferenceModel,
    weights: StoredWeights,
    input: InputForm,
    candidates: Vec<String>,
    mismatch: Error,
    notes: Vec<String>,
    /// Names of the nodes.
    names: Names,
    /// What was not compared with onnxruntime.
    unverified: Vec<String>,
    budget: Shared,
}

/// The graph with the first candidate that holds the classes as its output.
fn typed_model(source: &ModelSource, manifest: &Manifest, kept: &[&str]) -> Result<Typed, Error> {
    let mut parsed = parse(source, manifest, kept)?;
    // The code of each part of loading has done its work when the next begins.
    derm_memstat::release_file_pages();
    // A batch of 1 where the graph permits, else the batch that it is fixed to, of copies.
    let batches = if parsed.input.batch > 1 { vec![1, parsed.input.batch] } else { vec![1] };
    let candidates = std::mem::take(&mut parsed.candidates);
    let mut left = candidates.len() * batches.len();
    let mut failed = None;
    for candidate in &candidates {
        let mut error = None;
        for &batch in &batches {
            left -= 1;
            // The last attempt takes the graph: most files need one, and its memory once.
            let model =
                if left == 0 { std::mem::take(&mut parsed.model) } else { parsed.model.clone() };
            let budget = &parsed.budget;
            budget.start_again();
            let attempt =
                Attempt { input: &parsed.input, manifest, kept, candidate, batch, budget };
            match guarded("reading", || attempt.typed(model)) {
                Ok(Some(typed)) => return Ok(finished(typed, parsed, batch)),
                Ok(None) => {}
                Err(cause @ Error::NoSuchLayer(_)) => return Err(cause),
                Err(cause) => error = Some(parsed.input.explained(cause)),
            }
        }
        failed = failed.or(error);
    }
    Err(failed.unwrap_or(parsed.mismatch))
}

/// The typed graph with what else is known of it.
fn finished(typed: TypedModel, parsed: Parsed, batch: usize) -> Typed {
    let mut notes = parsed.notes;
    let fixed = parsed.input.batch;
    notes.extend(parsed.input.notes);
    if fixed > 1 && batch == 1 {
        notes.push(format!("the batch is fixed to {fixed}: it runs with a batch of 1"));
    } else if fixed > 1 {
        notes.push(format!(
            "the batch is fixed to {fixed}: each picture is computed {fixed} times; export it with a free batch"
        ));
    }
    let Parsed { weights, names, unverified, .. } = parsed;
    Typed { model: typed, weights, input: parsed.input.declared, names, notes, unverified }
}

/// What is tried: this value as the scores, at this batch.
struct Attempt<'a> {
    input: &'a InputForm,
    manifest: &'a Manifest,
    kept: &'a [&'a str],
    candidate: &'a str,
    batch: usize,
    budget: &'a Shared,
}

impl Attempt<'_> {
    /// The typed graph; `None` if the value does not hold the classes.
    fn typed(&self, mut model: InferenceModel) -> Result<Option<TypedModel>, Error> {
        let fact = self.input.datum_type.fact(self.input.shape(self.batch));
        model.set_input_fact(0, fact.into()).map_err(unreadable)?;
        let outputs = self.outputs(&model)?;
        model.select_output_outlets(&outputs).map_err(unreadable)?;

        let mut typed = model.into_typed().map_err(unreadable)?;
        Budget::check(&typed).map_err(unreadable)?;
        wire_input(&mut typed, self.input, self.batch).map_err(unreadable)?;
        if !wire_scores(&mut typed, self.manifest, self.batch).map_err(unreadable)? {
            return Ok(None);
        }
        check_uncertain(&typed, self.manifest)?;
        simplify(&mut typed, self.budget).map_err(unreadable)?;
        Ok(Some(typed))
    }

    /// The scores, and after them what the manifest and the caller name.
    fn outputs(&self, model: &InferenceModel) -> Result<Vec<OutletId>, Error> {
        let name = self.candidate;
        let missing = || Error::Mismatch(format!("it has no value {name:?}"));
        let mut outputs = vec![find_value(model, name).ok_or_else(missing)?];
        if let Some(uncertain) = &self.manifest.uncertain {
            let name = &uncertain.output;
            let missing = || Error::Mismatch(format!("it has no value {name:?} ([uncertain])"));
            outputs.push(find(model, name).ok_or_else(missing)?);
        }
        for &name in self.kept {
            let missing = || Error::NoSuchLayer(name.to_owned());
            outputs.push(find(model, name).ok_or_else(missing)?);
        }
        Ok(outputs)
    }
}

/// Reads the file, up to what is known without types.
fn parse(source: &ModelSource, manifest: &Manifest, kept: &[&str]) -> Result<Parsed, Error> {
    let mut onnx = operators::onnx();
    let (file, folder) = match source {
        ModelSource::Files { model, .. } | ModelSource::Described { model, .. } => {
            (ModelFile::open(model)?, model.parent())
        }
        ModelSource::Embedded { model, .. } => (ModelFile::Embedded(model), None),
        ModelSource::Opened(model) => {
            onnx.provider = Arc::new(HeldFiles(Arc::clone(model)));
            (model.map()?, model.folder())
        }
    };
    let Skeleton { bytes, weights } = skeleton(file.bytes())?;
    // Reading each tensor's header has mapped the pages around it.
    file.release(0..file.bytes().len());
    let mut proto = onnx.proto_model_for_read(&mut &bytes[..]).map_err(unreadable)?;
    let budget = Budget::new(file.bytes().len(), &proto);
    rewrite(&mut proto, &bytes, &budget)?;
    drop(bytes);
    let graph = proto.graph.as_mut().ok_or_else(|| Error::Graph("it has no graph".to_owned()))?;
    let signature = Signature::read(graph, manifest)?;
    let uncertain = manifest.uncertain.as_ref().map(|uncertain| uncertain.output.as_str());
    let roots: Vec<&str> = uncertain.into_iter().chain(kept.iter().copied()).collect();
    prune(graph, &signature.candidates, &roots);
    if let Some(reason) = leavings(graph) {
        return Err(Error::Graph(reason));
    }
    let picture = picture_input(graph, &weights)?;
    let input = InputForm::of(graph, &picture, &manifest.input)?;

    // Weights may be in files beside the model.
    let folder = external_data::resolve(graph, folder)?;
    if let Some(other) = computes_in(graph, picture.element) {
        to_float32(graph, other, &weights).map_err(Error::Graph)?;
    }
    operators::check_supported(graph, &onnx)?;
    let unverified = operators::unverified(&proto)?;
    if let Some(graph) = &mut proto.graph {
        replace_dynamic(graph, |name| weights.contains_key(name));
    }
    derm_memstat::release_file_pages();
    let parsed = onnx.parse(&proto, folder.as_deref()).map_err(unreadable)?;
    if !parsed.unresolved_inputs.is_empty() {
        let names = parsed.unresolved_inputs.join(", ");
        return Err(Error::Graph(format!("no node computes {names}")));
    }
    let mut model = parsed.model;
    let constants = model.nodes().iter().filter_map(|node| node.op_as::<Const>());
    let sizes = constants.map(|constant| {
        let value = constant.val();
        value.volume().saturating_mul(value.datum_type().size_of())
    });
    budget.grow(sizes.sum());
    let budget = Arc::new(budget);
    limit(&mut model, &budget);
    let names = Names {
        nodes: model.nodes().iter().map(|node| node.name.clone()).collect(),
        values: model.outlet_labels.values().cloned().collect(),
    };
    let weights = StoredWeights::new(Arc::new(file), weights).map_err(unreadable)?;
    let inputs = model.input_outlets().map_err(unreadable)?.to_vec();
    // The picture first.
    let (stored, pictures): (Vec<OutletId>, Vec<OutletId>) =
        inputs.into_iter().partition(|input| weights.has(&model.node(input.node).name));
    let inputs: Vec<OutletId> = pictures.into_iter().chain(stored).collect();
    model.set_input_outlets(&inputs).map_err(unreadable)?;
    let mismatch = signature.mismatch(manifest);
    let Signature { candidates, notes, .. } = signature;
    Ok(Parsed { model, weights, input, candidates, mismatch, notes, names, unverified, budget })
}

/// The one input of the graph that no stored tensor gives a value to.
pub(crate) fn picture_input(
    graph: &GraphProto,
    weights: &HashMap<String, Stored>,
) -> Result<Declared, Error> {
    let stored: HashSet<&str> =
        graph.initializer.iter().map(|tensor| tensor.name.as_str()).collect();
    let is_open = |input: &&ValueInfoProto| {
        !stored.contains(input.name.as_str()) && !weights.contains_key(&input.name)
    };
    let inputs: Vec<Declared> = graph.input.iter().filter(is_open).map(Declared::read).collect();
    // A picture has rows and columns; other inputs are numbers, or one for each channel.
    let is_long = |dim: &&Option<usize>| **dim != Some(1);
    let is_picture = |input: &&Declared| {
        let shape = input.shape.as_deref();
        shape.is_none_or(|shape| shape.iter().filter(is_long).count() >= 2)
    };
    let (pictures, others): (Vec<&Declared>, Vec<&Declared>) = inputs.iter().partition(is_picture);
    match (&inputs[..], &pictures[..]) {
        ([input], _) => Ok(input.clone()),
        ([], _) => Err(Error::Mismatch("its scores depend on no input".to_owned())),
        (_, [picture]) => {
            let others: Vec<String> = others.iter().take(8).map(ToString::to_string).collect();
            Err(Error::Mismatch(format!(
                "it has extra inputs without values beside {picture}: {}. Keras's export makes them of layers \
                 with state (Normalization, augmentation): docs/your-own-model.md shows how to avoid them",
                others.join(", ")
            )))
        }
        _ => {
            let shown: Vec<String> = inputs.iter().take(8).map(ToString::to_string).collect();
            let number = inputs.len();
            Err(Error::Mismatch(format!("it has {number} inputs, not one: {}", shown.join(", "))))
        }
    }
}

/// Reads external data from the files that an opened model holds.
struct HeldFiles(Arc<OpenModel>);

impl ModelDataResolver for HeldFiles {
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

/// The out-of-distribution score must be one number.
fn check_uncertain(typed: &TypedModel, manifest: &Manifest) -> Result<(), Error> {
    let Some(uncertain) = &manifest.uncertain else { return Ok(()) };
    let shape = &typed.output_fact(1).map_err(unreadable)?.shape;
    if shape.as_concrete().is_none_or(|shape| shape.iter().product::<usize>() != 1) {
        let name = &uncertain.output;
        let found = format!("{name:?} ([uncertain]) is {shape:?}, not one number");
        return Err(Error::Mismatch(found));
    }
    Ok(())
}

/// The value of this name; else what a node of this name computes.
fn find_value(model: &InferenceModel, name: &str) -> Option<OutletId> {
    let outputs = model.output_outlets().ok()?;
    let labelled = outputs.iter().copied().find(|&outlet| model.outlet_label(outlet) == Some(name));
    labelled.or_else(|| model.find_outlet_label(name)).or_else(|| find(model, name))
}

/// The value that a node of this name computes, or that itself has this name.
fn find(model: &InferenceModel, name: &str) -> Option<OutletId> {
    if let Ok(node) = model.node_by_name(name) {
        return Some(node.id.into());
    }
    model.find_outlet_label(name)
}

/// The innermost causes first: there a reader learns what is wrong; and the outermost, which names the node of the file.
pub(crate) fn unreadable(error: TractError) -> Error {
    let mut causes: Vec<String> =
        error.chain().map(|cause| first_line(&cause.to_string())).collect();
    causes.reverse();
    if causes.len() > 3 {
        causes.drain(2..causes.len() - 1);
    }
    Error::Graph(causes.join("; in: "))
}
