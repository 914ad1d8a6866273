//! Engines: time of one inference, and resident memory of the process.

use super::form::Form;
use super::report::{Bars, Table};
use super::{Arguments, median, named, ratio};
use crate::peers::{FOLDER, Peers};
use anyhow::{Context, ensure};
use derm::memory::{MIB, usage_of};
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Lines, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

/// The peer in the denominator of ratios.
const BASE: &str = "onnxruntime";
const OURS: &str = "derm";
const ENGINES: [&str; 6] = [BASE, "OpenVINO", "ncnn", "MNN", "RTen", "tract"];

impl Form {
    /// The peers that read such a file.
    fn engines(self) -> &'static [&'static str] {
        match self {
            Form::Float => &ENGINES,
            Form::Int8 => &ENGINES[..2],
        }
    }

    /// derm in the table, and beside its 8-bit network that with float16 weights.
    fn ours(self) -> &'static [(&'static str, Form)] {
        match self {
            Form::Float => &[(OURS, Form::Float)],
            Form::Int8 => &[(OURS, Form::Int8), ("derm, float16", Form::Float)],
        }
    }
}

/// Duration of one turn, ms: as many inferences as fit.
const TURN: f64 = 120.0;

/// The measurements of one engine.
struct Measured {
    engine: String,
    /// Median of each turn, ms.
    turns: Vec<f64>,
    /// Resident memory after the last turn, MiB.
    memory: f64,
    /// The largest absolute difference from onnxruntime's scores, relative to the largest score.
    error: f64,
}

pub(super) fn run(
    peers: &Peers,
    arguments: &Arguments,
    form: Form,
    threads: usize,
) -> anyhow::Result<(Table, Bars)> {
    let engines = named(&arguments.peers, form.engines());
    let mut text = format!(
        "One inference, {threads} thread{}, ms: medians of {} turns. To {BASE}: the ratio of two in \
         one turn, median and quartiles.\n\n\
         | model | engine | ms | to {BASE} | memory, MiB | scores off by |\n\
         |---|---|---:|---:|---:|---:|\n",
        if threads == 1 { "" } else { "s" },
        arguments.rounds
    );
    let mut groups = Vec::new();
    let series: Vec<String> = std::iter::once(OURS.to_owned()).chain(engines.clone()).collect();
    for model in named(&arguments.models, form.models()) {
        let measured = measure(peers, &model, form, &engines, threads, arguments.rounds)
            .with_context(|| model.clone())?;
        let base = measured.iter().find(|one| one.engine == BASE);
        let mut bars = vec![None; series.len()];
        for one in &measured {
            let [middle, low, high] =
                base.map_or([f64::NAN; 3], |base| ratio(&one.turns, &base.turns));
            let number = series.iter().position(|name| *name == one.engine);
            number.into_iter().for_each(|number| bars[number] = Some(middle));
            let (ms, memory) = (median(&one.turns), one.memory);
            writeln!(
                text,
                "| {model} | {} | {ms:.2} | {middle:.2} ({low:.2}-{high:.2}) | {memory:.0} | {:.0e} |",
                one.engine, one.error
            )?;
        }
        groups.push((model, bars));
    }
    let bars = Bars {
        title: format!("time of one inference over {BASE}'s, {threads} thread(s); lower is better"),
        series,
        groups,
        top: 2.0,
    };
    let name = if form == Form::Int8 { "int8" } else { "engines" };
    Ok((Table { name: format!("{name}-{threads}"), text }, bars))
}

fn measure(
    peers: &Peers,
    model: &str,
    form: Form,
    engines: &[String],
    threads: usize,
    rounds: usize,
) -> anyhow::Result<Vec<Measured>> {
    let entry = derm_zoo::entry(&format!("{model}.opset13")).context("no such model in the zoo")?;
    let peers_file = form.peers_file(&entry)?;
    let input = derm_zoo::picture([1, 3, entry.side as usize, entry.side as usize]);
    let picture = peers.folder("pictures")?.join(format!("{}.f32", entry.side));
    let bytes: Vec<u8> = input.iter().flat_map(|value| value.to_le_bytes()).collect();
    std::fs::write(&picture, bytes)?;

    let mut processes = Vec::new();
    for (name, form) in form.ours() {
        let mut ours = Command::new(std::env::current_exe()?);
        ours.arg("engine").args([&form.our_folder(&entry)?, &picture]).arg(threads.to_string());
        processes.push(Process::start(name, ours)?);
    }
    for engine in engines {
        // tract runs on one thread.
        if engine == "tract" && threads > 1 {
            continue;
        }
        let started = peers
            .convert(&peers_file, model, entry.side, engine)
            .and_then(|converted| command(peers, engine, &converted, threads))
            .and_then(|mut command| {
                command.arg(&picture).args([entry.side.to_string(), threads.to_string()]);
                Process::start(engine, command)
            });
        match started {
            Ok(process) => processes.push(process),
            Err(error) => println!("SKIPPED {engine}: {error:#}"),
        }
    }
    let mut counts = Vec::new();
    for process in &mut processes {
        process.turn(2)?;
        let once = median(&process.turn(3)?);
        counts.push((TURN / once).ceil().clamp(2.0, 50.0) as usize);
    }
    let mut turns = vec![Vec::new(); processes.len()];
    for _ in 0..rounds.max(1) {
        for ((process, turns), &count) in processes.iter_mut().zip(&mut turns).zip(&counts) {
            // Threads of the previous engine may still be spinning for work.
            std::thread::sleep(Duration::from_millis(20));
            turns.push(median(&process.turn(count)?));
        }
    }
    let base = processes.iter().find(|process| process.engine == BASE);
    let base = base.map(|process| process.scores.clone()).unwrap_or_default();
    let rows = processes.into_iter().zip(turns).map(|(process, turns)| {
        let memory = usage_of(process.child.id()).context("it ended")?.rss as f64 / MIB;
        let error = distance(&process.scores, &base);
        Ok(Measured { engine: process.engine.clone(), turns, memory, error })
    });
    rows.collect()
}

/// The command that starts a peer, without its last arguments: picture, side and threads.
fn command(peers: &Peers, engine: &str, model: &Path, threads: usize) -> anyhow::Result<Command> {
    let mut command = if matches!(engine, "RTen" | "tract") {
        Command::new(peers.rust("engine")?)
    } else {
        let mut command = Command::new(peers.python()?);
        command.arg(Path::new(FOLDER).join("engine.py"));
        command
    };
    command.args([Path::new(engine), model]).env("RTEN_NUM_THREADS", threads.to_string());
    Ok(command)
}

/// The largest absolute difference, relative to the largest reference score.
fn distance(scores: &[f64], from: &[f64]) -> f64 {
    let most = from.iter().fold(0.0f64, |most, score| most.max(score.abs()));
    let far = scores.iter().zip(from).fold(0.0f64, |far, (a, b)| far.max((a - b).abs()));
    far / most
}

/// A process that runs inferences on request; killed when dropped.
struct Process {
    engine: String,
    child: Child,
    input: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
    scores: Vec<f64>,
}

impl Process {
    fn start(engine: &str, mut command: Command) -> anyhow::Result<Process> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("{command:?}"))?;
        let input = child.stdin.take().context("its input")?;
        let lines = BufReader::new(child.stdout.take().context("its output")?).lines();
        let mut process =
            Process { engine: engine.to_owned(), child, input, lines, scores: Vec::new() };
        loop {
            let line = process.lines.next().context("it ended before it was ready")??;
            // Some engines talk while they load.
            if let Some(scores) = line.strip_prefix("ready ") {
                process.scores = numbers(scores)?;
                return Ok(process);
            }
        }
    }

    /// Runs that many inferences; returns their times, ms.
    fn turn(&mut self, count: usize) -> anyhow::Result<Vec<f64>> {
        writeln!(self.input, "{count}")?;
        let line = self.lines.next().context("it ended")??;
        let times = numbers(&line)?;
        ensure!(times.len() == count, "{}: {line}", self.engine);
        Ok(times)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn numbers(line: &str) -> anyhow::Result<Vec<f64>> {
    line.split_whitespace().map(|number| Ok(number.parse()?)).collect()
}
