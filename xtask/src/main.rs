//! `cargo xtask COMMAND`: developer commands of the workspace, one file or folder per command.

// A command-line tool talks to its user on stdout.
#![allow(clippy::print_stdout)]

mod cgroup;
mod compare;
mod cost;
mod engine;
mod explain_eval;
mod hostile;
mod instructions;
mod memtest;
mod overload;
mod peers;
mod ports;
mod process;
mod python;
mod server;
mod sizing;
mod statistics;
mod zoo;

use clap::Parser;
use derm_cli::quantize;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Developer commands of the derm workspace")]
enum Command {
    Compare(compare::Arguments),
    Cost(cost::Arguments),
    Engine(engine::Arguments),
    ExplainEval(explain_eval::Arguments),
    Hostile(hostile::Arguments),
    Instructions(instructions::Arguments),
    Memtest(memtest::Arguments),
    Overload(overload::Arguments),
    Quantize(quantize::Arguments),
    Sizing(sizing::Arguments),
    Zoo(zoo::Arguments),
}

fn main() -> anyhow::Result<()> {
    match Command::parse() {
        Command::Compare(arguments) => compare::run(&arguments),
        Command::Cost(arguments) => cost::run(&arguments),
        Command::Engine(arguments) => engine::run(&arguments),
        Command::ExplainEval(arguments) => explain_eval::run(&arguments),
        Command::Hostile(arguments) => hostile::run(&arguments),
        Command::Instructions(arguments) => instructions::run(&arguments),
        Command::Memtest(arguments) => memtest::run(&arguments),
        Command::Overload(arguments) => overload::run(&arguments),
        Command::Quantize(arguments) => quantize::run(&arguments),
        Command::Sizing(arguments) => sizing::run(&arguments),
        Command::Zoo(arguments) => zoo::run(&arguments),
    }
}
