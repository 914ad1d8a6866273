//! Applying a patch: replaces some nodes of a graph by others, in time that grows with the patch. tract's own
//! function compares each new node with every node of the graph, twice.

use std::collections::HashMap;
use tract_onnx::prelude::*;
use tract_onnx::tract_core::ops::dummy::Dummy;
use tract_onnx::tract_core::ops::source::TypedSource;

/// A graph that is patched, and how many of its nodes have each name.
pub(super) struct Target<'a> {
    model: &'a mut TypedModel,
    names: HashMap<String, usize>,
}

/// The nodes of a patch in the graph.
struct Added {
    /// The outlet of the graph that each of the patch is.
    places: HashMap<OutletId, OutletId>,
    /// The new nodes, and the outlets of the patch that they read.
    edges: Vec<(usize, Vec<OutletId>)>,
}

impl<'a> Target<'a> {
    pub(super) fn new(model: &'a mut TypedModel) -> Target<'a> {
        let mut names = HashMap::with_capacity(model.nodes.len());
        for node in &model.nodes {
            *names.entry(node.name.clone()).or_default() += 1;
        }
        Target { model, names }
    }

    pub(super) fn model(&self) -> &TypedModel {
        self.model
    }

    /// Adds the patch's nodes, lets them take the places that it says, and removes the nodes that nothing reads
    /// any more, which leave [`Dummy`] nodes without edges.
    ///
    /// # Errors
    /// If the patch is malformed.
    pub(super) fn apply(&mut self, patch: TypedModelPatch) -> TractResult<()> {
        let TypedModelPatch { model: new, taps, shunts, obliterate, inputs: replaced, .. } = patch;
        let first = self.model.nodes.len();
        let Added { places, edges } = self.add(new, taps, &replaced)?;
        let mut shunts: Vec<(OutletId, OutletId)> = shunts.into_iter().collect();
        shunts.sort_unstable();
        for &(from, by) in &shunts {
            self.shunt(from, places[&by])?;
        }
        // After that, since a new node may read what it takes the place of.
        for (id, inputs) in edges {
            for (slot, input) in inputs.iter().enumerate() {
                self.model.add_edge(places[input], InletId::new(id, slot))?;
            }
        }
        for id in obliterate {
            self.model.node_mut(id).op = Box::new(Dummy::new());
        }
        self.remove_unread(shunts.into_iter().map(|(from, _)| from.node).collect());
        (first..self.model.nodes.len()).for_each(|id| self.make_unique(id));
        Ok(())
    }

    /// Adds the nodes of a patch, without edges. `taps` says where in the graph those outlets are that it
    /// reads, `replaced` which of its inputs take the place of which input of the graph.
    fn add(
        &mut self,
        new: TypedModel,
        taps: HashMap<OutletId, OutletId>,
        replaced: &HashMap<usize, usize>,
    ) -> TractResult<Added> {
        let mut places = taps;
        let mut edges = Vec::new();
        for Node { id: patch_id, name, inputs, op, outputs } in new.nodes {
            let is_source = op.is::<TypedSource>();
            if is_source && places.contains_key(&patch_id.into()) {
                continue;
            }
            let slots = outputs.len();
            *self.names.entry(name.clone()).or_default() += 1;
            let facts = outputs.into_iter().map(|output| output.fact).collect();
            let id = self.model.add_node(name, op, facts)?;
            let outlets =
                (0..slots).map(|slot| (OutletId::new(patch_id, slot), OutletId::new(id, slot)));
            places.extend(outlets);
            if is_source {
                let old = replaced[&patch_id];
                let inputs = self.model.inputs.iter_mut().filter(|input| input.node == old);
                inputs.for_each(|input| input.node = id);
            }
            edges.push((id, inputs));
        }
        Ok(Added { places, edges })
    }

    /// Lets what reads one outlet read another.
    fn shunt(&mut self, from: OutletId, by: OutletId) -> TractResult<()> {
        let readers = self.model.nodes[from.node].outputs[from.slot].successors.clone();
        for reader in readers {
            self.model.add_edge(by, reader)?;
        }
        self.model.outputs.iter_mut().filter(|output| **output == from).for_each(|o| *o = by);
        if let Some(label) = self.model.outlet_labels.remove(&from) {
            self.model.set_outlet_label(by, label)?;
        }
        Ok(())
    }

    /// Removes those of these nodes that nothing reads, and what only they have read.
    fn remove_unread(&mut self, mut left: Vec<usize>) {
        while let Some(id) = left.pop() {
            let is_here = |outlet: &OutletId| outlet.node == id;
            let is_read =
                self.model.nodes[id].outputs.iter().any(|output| !output.successors.is_empty());
            if is_read
                || self.model.outputs.iter().any(is_here)
                || self.model.inputs.iter().any(is_here)
            {
                continue;
            }
            let node = &mut self.model.nodes[id];
            node.op = Box::new(Dummy::new());
            node.outputs.clear();
            let name = std::mem::take(&mut node.name);
            let inputs = std::mem::take(&mut node.inputs);
            self.forget(&name);
            for input in inputs {
                let output = &mut self.model.nodes[input.node].outputs[input.slot];
                output.successors.retain(|reader| reader.node != id);
                left.push(input.node);
            }
        }
    }

    /// Gives a new node a name that no other has. Behind `#` a patch numbers its nodes.
    fn make_unique(&mut self, id: usize) {
        let name = self.model.nodes[id].name.clone();
        let prefix = match name.split_once('#') {
            Some((prefix, _)) => prefix,
            None if self.names.get(&name).is_some_and(|&count| count > 1) => &name,
            None => return,
        };
        let is_free = |name: &String| !self.names.contains_key(name);
        let numbered = (1..).map(|number| format!("{prefix}.{number}"));
        let unique = std::iter::once(prefix.to_owned()).chain(numbered).find(is_free);
        let unique = unique.expect("there are more numbers than nodes");
        self.forget(&name);
        *self.names.entry(unique.clone()).or_default() += 1;
        self.model.nodes[id].name = unique;
    }

    /// One node less has this name.
    fn forget(&mut self, name: &str) {
        if let Some(count) = self.names.get_mut(name) {
            *count -= 1;
            if *count == 0 {
                self.names.remove(name);
            }
        }
    }
}
