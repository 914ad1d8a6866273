//! The list of verified operators, as the cases that agree show it.

use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

/// So many different values of a number stand for any value.
const ENOUGH: usize = 3;
/// Numbers that name something: each value counts by itself.
const NAMES: [&str; 5] = ["to", "dtype", "output_dtype", "stash_type", "output_datatype"];

/// Text that may be anything: the operator reads it as a formula.
const FORMULAS: [&str; 1] = ["equation"];

/// A node of a case: its operator, the first and last opset of its definition, its attributes (text
/// and whole numbers by value), and which of those are there with another value than the default.
type Used = (String, i64, i64, BTreeMap<String, serde_json::Value>, BTreeSet<String>);

/// A model of one operator.
#[derive(Deserialize)]
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) used: Vec<Used>,
    /// How many values it computes, and weighted sums of them.
    pub(crate) expected: Vec<f64>,
    pub(crate) largest: f64,
    pub(crate) model: String,
}

#[derive(Default)]
struct Verified {
    opsets: BTreeSet<(i64, i64)>,
    /// The attributes that every node had.
    required: Option<BTreeSet<String>>,
    attributes: BTreeMap<String, Values>,
}

#[derive(Default)]
struct Values {
    /// A value that is no text and no whole number.
    other: bool,
    numbers: BTreeSet<i64>,
    texts: BTreeSet<String>,
}

#[derive(Default)]
pub(crate) struct List(BTreeMap<String, Verified>);

impl List {
    /// Adds all operators of a case that agrees.
    pub(crate) fn add(&mut self, case: &Case) {
        for (operator, first, last, attributes, given) in &case.used {
            let verified = self.0.entry(operator.clone()).or_default();
            verified.opsets.insert((*first, *last));
            match &mut verified.required {
                Some(required) => required.retain(|name| given.contains(name)),
                None => verified.required = Some(given.clone()),
            }
            for (name, value) in attributes {
                let values = verified.attributes.entry(name.clone()).or_default();
                match value {
                    serde_json::Value::Number(number) => {
                        values.numbers.insert(number.as_i64().unwrap());
                    }
                    serde_json::Value::String(text) => {
                        values.texts.insert(text.clone());
                    }
                    _ => values.other = true,
                }
            }
        }
    }

    /// The text of `verified.toml`.
    pub(crate) fn toml(&self) -> String {
        let mut text = "# Written by tests/operators.rs from operators/cases.jsonl.\n".to_owned();
        for (name, verified) in &self.0 {
            let opsets = ranges(&verified.opsets);
            let opsets: Vec<String> = opsets.iter().map(|(a, b)| format!("[{a}, {b}]")).collect();
            let _ = write!(
                text,
                "\n[[operator]]\nname = \"{name}\"\nopsets = [{}]\n",
                opsets.join(", ")
            );
            // Of other attributes, a default is one value of many.
            let is_exact = |name: &&String| !verified.attributes[*name].is_any(name);
            let required: Vec<&String> =
                verified.required.iter().flatten().filter(is_exact).collect();
            if !required.is_empty() {
                let _ = writeln!(text, "required = {required:?}");
            }
            if !verified.attributes.is_empty() {
                text += "[operator.attributes]\n";
            }
            for (attribute, values) in &verified.attributes {
                let _ = writeln!(text, "{attribute} = {}", values.toml(attribute));
            }
        }
        text
    }

    /// The text of `docs/operators.md`.
    pub(crate) fn page(&self, others: &[String]) -> String {
        let mut text = HEAD.to_owned();
        for (name, verified) in &self.0 {
            let opsets = ranges(&verified.opsets);
            let opsets: Vec<String> = opsets.iter().map(|(a, b)| format!("{a}–{b}")).collect();
            let attributes = verified.attributes.iter();
            let attributes: Vec<String> =
                attributes.map(|(name, values)| values.shown(name)).collect();
            let _ =
                writeln!(text, "| {name} | {} | {} |", opsets.join(", "), attributes.join("; "));
        }
        text += OTHERS;
        for other in others {
            let line = other.split("; in:").next().unwrap_or_default();
            let line = line.replace("the model cannot be read: ", "");
            let _ = writeln!(text, "- {}", line.replace('|', "/"));
        }
        text
    }
}

impl Values {
    fn is_any(&self, attribute: &str) -> bool {
        self.other
            || FORMULAS.contains(&attribute)
            || self.numbers.len() >= ENOUGH && !NAMES.contains(&attribute)
    }

    fn toml(&self, attribute: &str) -> String {
        if self.is_any(attribute) {
            return "true".to_owned();
        }
        if self.texts.is_empty() {
            return format!("{:?}", self.numbers.iter().collect::<Vec<_>>());
        }
        format!("{:?}", self.texts.iter().collect::<Vec<_>>())
    }

    fn shown(&self, attribute: &str) -> String {
        if self.is_any(attribute) {
            return attribute.to_owned();
        }
        let numbers = self.numbers.iter().map(ToString::to_string);
        let values: Vec<String> = numbers.chain(self.texts.iter().cloned()).collect();
        format!("{attribute} = {}", values.join(", "))
    }
}

/// Ranges that follow each other as one.
fn ranges(opsets: &BTreeSet<(i64, i64)>) -> Vec<(i64, i64)> {
    let mut joined: Vec<(i64, i64)> = Vec::new();
    for &(first, last) in opsets {
        match joined.last_mut() {
            Some(before) if first <= before.1 + 1 => before.1 = before.1.max(last),
            _ => joined.push((first, last)),
        }
    }
    joined
}

const HEAD: &str = "# Operators

ONNX operators that are executed: each was compared with onnxruntime 1.32 in these versions of the standard
and with these attributes (an attribute without values: with any). Other operators, versions and attribute values
are refused by the names of operator and node, unless `ALLOW_UNVERIFIED_OPERATORS=true` is set: then tract may
execute them, and nobody has compared the result. `derm-server --check` lists what a model uses.

This page is written by `crates/derm-model/tests/operators.rs`, which runs one small model a line and compares;
`tests/operators/cases.py` makes those models. A test fails if the page is not what the comparison shows.

| operator | opsets | attributes |
|---|---|---|
";

const OTHERS: &str = "
## Refused

Variants that were tried and are not executed, or that differ from onnxruntime and are therefore not in the list:

";
