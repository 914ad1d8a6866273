//! `Einsum` with an equation of any form: ellipses, diagonals, spaces, no result.

use super::body::{Call, With};
use std::collections::BTreeMap;
use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::*;

/// `Einsum-12`: made explicit, one letter an axis, each once in an operand.
pub(super) fn einsum(call: &mut Call<'_>) -> TractResult<Vec<String>> {
    let equation = call.text("equation")?.context("no equation")?.replace(' ', "");
    let (left, right) = match equation.split_once("->") {
        Some((left, right)) => (left, Some(right)),
        None => (&*equation, None),
    };
    let terms: Vec<&str> = left.split(',').collect();
    let mut shapes = Vec::new();
    for position in 0..terms.len() {
        shapes.push(call.shape(position)?);
    }
    let mut letters = Letters::of(&equation);
    let widest = widest_ellipsis(&terms, &shapes)?;
    let ellipsis: Vec<char> = (0..widest).map(|_| letters.fresh()).collect::<TractResult<_>>()?;
    let mut labels = terms
        .iter()
        .zip(&shapes)
        .map(|(term, shape)| labels(term, shape.len(), &ellipsis))
        .collect::<TractResult<Vec<_>>>()?;
    let result = match right {
        Some(right) => {
            let given = right.replace("...", &ellipsis.iter().collect::<String>());
            given.chars().collect()
        }
        None => implicit(&labels, &ellipsis),
    };

    let mut operands = Vec::new();
    for position in 0..terms.len() {
        let mut name = call.operand(position);
        (name, shapes[position]) =
            diagonals(call, name, &mut labels[position], shapes[position].clone())?;
        operands.push(name);
    }
    let lengths = lengths(&labels, &shapes)?;
    for (labels, shape) in labels.iter_mut().zip(&shapes) {
        for (label, &length) in labels.iter_mut().zip(shape) {
            // Repeated along the longer axes of others: summed over its one value.
            if length == 1 && lengths[label] != 1 {
                *label = letters.fresh()?;
            }
        }
    }
    let terms: Vec<String> = labels.iter().map(|labels| labels.iter().collect()).collect();
    let equation = format!("{}->{}", terms.join(","), result.iter().collect::<String>());
    let operands: Vec<&str> = operands.iter().map(String::as_str).collect();
    Ok(vec![call.put("derm.Einsum", &operands, &[With::Text("equation", &equation)])])
}

/// Letters that an equation does not use.
struct Letters(Vec<char>);

impl Letters {
    fn of(equation: &str) -> Letters {
        let unused = ('a'..='z').chain('A'..='Z').filter(|&letter| !equation.contains(letter));
        Letters(unused.rev().collect())
    }

    fn fresh(&mut self) -> TractResult<char> {
        self.0.pop().context("an equation of too many letters")
    }
}

fn widest_ellipsis(terms: &[&str], shapes: &[Vec<i64>]) -> TractResult<usize> {
    let mut widest = 0;
    for (term, shape) in terms.iter().zip(shapes) {
        if let Some(named) = term.len().checked_sub(3).filter(|_| term.contains("...")) {
            let width = shape.len().checked_sub(named).context("an operand of too few axes")?;
            widest = widest.max(width);
        }
    }
    Ok(widest)
}

/// The letters of an operand's axes; the axes of an ellipsis are counted from its last.
fn labels(term: &str, rank: usize, ellipsis: &[char]) -> TractResult<Vec<char>> {
    let named = term.replace("...", "").chars().count();
    let width = if term.contains("...") { rank - named } else { 0 };
    let inside: String = ellipsis[ellipsis.len() - width..].iter().collect();
    let labels: Vec<char> = term.replace("...", &inside).chars().collect();
    ensure!(labels.len() == rank, "{term} for an operand of {rank} axes");
    ensure!(labels.iter().all(char::is_ascii_alphabetic), "the equation's {term}");
    Ok(labels)
}

/// Without `->`: the ellipsis, then the letters that occur once, in the alphabet's order.
fn implicit(labels: &[Vec<char>], ellipsis: &[char]) -> Vec<char> {
    let mut counts: BTreeMap<char, usize> = BTreeMap::new();
    labels.iter().flatten().for_each(|&label| *counts.entry(label).or_default() += 1);
    let is_result = |(label, count): &(&char, &usize)| **count == 1 && !ellipsis.contains(label);
    let named = counts.iter().filter(is_result).map(|(label, _)| *label);
    ellipsis.iter().copied().chain(named).collect()
}

/// Takes the diagonal of axes with the same letter, until each occurs once.
fn diagonals(
    call: &mut Call<'_>,
    mut value: String,
    labels: &mut Vec<char>,
    mut shape: Vec<i64>,
) -> TractResult<(String, Vec<i64>)> {
    let again = |labels: &[char]| {
        (0..labels.len()).find_map(|second| {
            let first = labels[..second].iter().position(|&label| label == labels[second])?;
            Some((first, second))
        })
    };
    while let Some((first, second)) = again(labels) {
        let length = shape[first];
        ensure!(shape[second] == length, "axes {} differ in length", labels[first]);
        // Both axes go last, become one, and of that every (length + 1)-th value is taken.
        let rank = labels.len() as i64;
        let others = (0..rank).filter(|&axis| axis != first as i64 && axis != second as i64);
        let order: Vec<i64> = others.chain([first as i64, second as i64]).collect();
        value = call.put("Transpose", &[&value], &[With::Ints("perm", &order)]);
        let label = labels[first];
        for axis in [second, first] {
            labels.remove(axis);
            shape.remove(axis);
        }
        let joined: Vec<i64> = shape.iter().copied().chain([length * length]).collect();
        value = call.reshape(&value, &joined);
        call.room(&[length])?;
        let places: Vec<i64> = (0..length).map(|place| place * (length + 1)).collect();
        let places = call.put_ints(&places);
        value = call.put("Gather", &[&value, &places], &[With::Int("axis", -1)]);
        labels.push(label);
        shape.push(length);
    }
    Ok((value, shape))
}

/// The length of each letter's axes: all the same, or one.
fn lengths(labels: &[Vec<char>], shapes: &[Vec<i64>]) -> TractResult<BTreeMap<char, i64>> {
    let mut lengths: BTreeMap<char, i64> = BTreeMap::new();
    for (label, &length) in labels.iter().flatten().zip(shapes.iter().flatten()) {
        let known = lengths.entry(*label).or_insert(length);
        if *known == 1 {
            *known = length;
        }
        ensure!(length == 1 || length == *known, "axes {label} of {known} and {length} values");
    }
    Ok(lengths)
}
