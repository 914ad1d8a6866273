//! `cargo xtask COMMAND`: chores of the workspace, one file a command.

// A command-line tool talks to its user on stdout.
#![allow(clippy::print_stdout)]

mod cgroup;
mod evaluate;
mod explain;
mod explain_eval;
mod memtest;
mod profile;
mod python;
mod quantize;
mod server;
mod zoo;

use clap::Parser;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Chores of the derm workspace")]
enum Command {
    Evaluate(evaluate::Arguments),
    Explain(explain::Arguments),
    ExplainEval(explain_eval::Arguments),
    Memtest(memtest::Arguments),
    Profile(profile::Arguments),
    Quantize(quantize::Arguments),
    Zoo(zoo::Arguments),
}

fn main() -> anyhow::Result<()> {
    match Command::parse() {
        Command::Evaluate(arguments) => evaluate::run(&arguments),
        Command::Explain(arguments) => explain::run(&arguments),
        Command::ExplainEval(arguments) => explain_eval::run(&arguments),
        Command::Memtest(arguments) => memtest::run(&arguments),
        Command::Profile(arguments) => profile::run(&arguments),
        Command::Quantize(arguments) => quantize::run(&arguments),
        Command::Zoo(arguments) => zoo::run(&arguments),
    }
}
