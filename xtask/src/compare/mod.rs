//! `cargo xtask compare`: derm against other engines and servers, interleaved, on the same files and
//! pictures.

mod engines;
mod form;
mod predict;
mod report;
mod servers;
mod start;

use crate::peers::Peers;
use form::Form;
use report::{Bars, Table};
use std::path::PathBuf;

/// Time derm against other engines and servers, interleaved
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// What to compare; everything by default
    #[arg(long, value_delimiter = ',')]
    what: Vec<What>,
    /// Models of the zoo; those of the table by default
    #[arg(long, value_delimiter = ',')]
    models: Vec<String>,
    /// Engines or servers to compare with; all by default
    #[arg(long, value_delimiter = ',')]
    peers: Vec<String>,
    /// Threads inside one inference
    #[arg(long, value_delimiter = ',', default_value = "1,2")]
    threads: Vec<usize>,
    /// Concurrent clients of a server
    #[arg(long, value_delimiter = ',', default_value = "1,4,16,64")]
    clients: Vec<usize>,
    /// Pictures of a folder
    #[arg(long, default_value_t = 2_000)]
    pictures: usize,
    /// Rounds of measurement
    #[arg(long, default_value_t = 15)]
    rounds: usize,
    /// A Markdown file in which to replace the tables; plots are written beside it
    #[arg(long)]
    write: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum What {
    /// One inference
    Engines,
    /// One inference of networks that models/zoo/int8.py has quantised
    Int8,
    /// Requests per second of these
    ServersInt8,
    /// From the start of a process to its first answer
    Start,
    /// Requests per second
    Servers,
    /// A folder of pictures: derm predict and Python programs
    Predict,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let wanted = |what| arguments.what.is_empty() || arguments.what.contains(&what);
    let show = |table: Table, bars: Option<Bars>| -> anyhow::Result<()> {
        println!("\n{}", table.text);
        match &arguments.write {
            None => Ok(()),
            Some(file) => report::write(file, &table, bars.as_ref()),
        }
    };
    if wanted(What::Predict) {
        show(predict::run(arguments)?, None)?;
    }
    // Which has packages of its own.
    if arguments.what == [What::Predict] {
        return Ok(());
    }
    let peers = Peers::install();
    for (what, form) in [(What::Engines, Form::Float), (What::Int8, Form::Int8)] {
        for &threads in arguments.threads.iter().filter(|_| wanted(what)) {
            let (table, bars) = engines::run(&peers, arguments, form, threads)?;
            show(table, Some(bars))?;
        }
    }
    if wanted(What::Start) {
        show(start::run(&peers, arguments)?, None)?;
    }
    for (what, form) in [(What::Servers, Form::Float), (What::ServersInt8, Form::Int8)] {
        if wanted(what) {
            let (table, bars) = servers::run(&peers, arguments, form)?;
            show(table, Some(bars))?;
        }
    }
    Ok(())
}

/// The named ones, or all if none is named.
fn named(list: &[String], all: &[&str]) -> Vec<String> {
    match list {
        [] => all.iter().map(|&name| name.to_owned()).collect(),
        list => list.to_vec(),
    }
}

/// The median.
fn median(list: &[f64]) -> f64 {
    let mut list = list.to_vec();
    list.sort_by(f64::total_cmp);
    list.get(list.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Paired ratios, of measurements of the same round: median and quartiles.
fn ratio(ours: &[f64], base: &[f64]) -> [f64; 3] {
    let mut ratios: Vec<f64> = ours.iter().zip(base).map(|(ours, base)| ours / base).collect();
    ratios.sort_by(f64::total_cmp);
    let at = |share: usize| ratios.get((ratios.len().max(1) - 1) * share / 4).copied();
    [2, 1, 3].map(|share| at(share).unwrap_or(f64::NAN))
}
