//! Runs a network on the picture of the golden files so often as it is told, and prints a checksum of the scores:
//! `infer FOLDER best|portable ROUNDS`. `deploy/arm64` counts its instructions.

#![allow(clippy::print_stdout, reason = "a program for the terminal")]

use derm_model::{EngineOptions, Graph, Isa, ModelSource, PackedWeightCache, Plan};
use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, isa, rounds] = &arguments[..] else {
        return Err("infer FOLDER best|portable ROUNDS".into());
    };
    let available = Isa::available();
    let isa = match &isa[..] {
        "best" => Some(available[0]),
        "portable" => available.last().copied(),
        _ => None,
    };
    let options = EngineOptions { isa: isa.ok_or("best or portable")?, ..EngineOptions::default() };
    let graph = Graph::load(&ModelSource::at(folder))?;
    let plan = Plan::new(&graph, &options, &mut PackedWeightCache::default())?;
    let picture = derm_zoo::picture(graph.manifest().input.shape());
    for _ in 0..rounds.parse()? {
        println!("{:?} {:e}", options.isa, plan.scores(&picture)?.iter().sum::<f32>());
    }
    Ok(())
}
