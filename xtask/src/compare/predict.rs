//! `derm predict` of a folder beside Python programs of Pillow and onnxruntime: pictures a second, and memory.

use super::report::Table;
use super::{Arguments, median, named, ratio};
use crate::memtest::pictures::photograph;
use crate::process::{children_seconds, proportional};
use crate::python::environment;
use crate::server::build_program;
use anyhow::{Context, ensure};
use derm::memory::MIB;
use image::{RgbImage, imageops};
use jpeg_encoder::{ColorType, Encoder, SamplingFactor};
use rayon::prelude::*;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const OURS: &str = "derm predict";
const CORES: &str = "2";
/// The Python programs: what `predict.py` calls each, and what it is.
const PEERS: [(&str, &str); 3] = [
    ("loop", "Pillow + onnxruntime, a loop, 2 threads in onnxruntime"),
    ("threads", "the same, 2 Python threads, 1 in onnxruntime"),
    ("processes", "the same, a pool of 2 processes"),
];
/// Where the pictures and the Python packages are.
const FOLDER: &str = "target/predict";
const MODEL: &str = "models/derm-lite0";
/// How often memory is looked at while a program runs.
const PERIOD: Duration = Duration::from_millis(100);

/// A program and what was measured of it.
struct Program {
    name: String,
    command: Command,
    /// A CSV file with the probabilities.
    output: PathBuf,
    /// Pictures a second, of each round.
    rates: Vec<f64>,
    /// Milliseconds of a core for each picture, of each round.
    costs: Vec<f64>,
    /// The most proportional memory of all its processes, MiB.
    memory: f64,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<Table> {
    let folder = pictures(arguments.pictures)?;
    let mut programs = programs(arguments, &folder)?;
    let rounds = arguments.rounds.clamp(1, 5);
    for _ in 0..rounds {
        for program in &mut programs {
            measure(program, arguments.pictures)
                .with_context(|| format!("{}: {:?}", program.name, program.command))?;
        }
    }
    let mut text = format!(
        "{} JPEG files of about 800x600, {CORES} cores, the bundled model, from the start of the program to its end; medians of \
         {rounds} runs, in turns. derm's rate over the program's: of two in one turn, median and quartiles. Memory: the \
         most of all processes of the program together, shared pages counted once (PSS).\n\n\
         | program | pictures/s | derm's rate over it | CPU ms a picture | memory at most, MiB | the same class | probabilities off by |\n\
         |---|---:|---:|---:|---:|---:|---:|\n",
        arguments.pictures
    );
    let ours = programs[0].rates.clone();
    let expected = probabilities(&programs[0].output)?;
    for program in &programs {
        let [middle, low, high] = ratio(&ours, &program.rates);
        let [same, off] = compared(&expected, &probabilities(&program.output)?)?;
        writeln!(
            text,
            "| {} | {:.1} | {middle:.2} ({low:.2}-{high:.2}) | {:.1} | {:.0} | {:.1} % | {off:.0e} |",
            program.name,
            median(&program.rates),
            median(&program.costs),
            program.memory,
            100.0 * same,
        )?;
    }
    Ok(Table { name: "predict".to_owned(), text })
}

/// `derm predict`, and the Python programs that can be run here.
fn programs(arguments: &Arguments, pictures: &Path) -> anyhow::Result<Vec<Program>> {
    let program = |name: &str, command: Command, output: PathBuf| Program {
        name: name.to_owned(),
        command,
        output,
        rates: Vec::new(),
        costs: Vec::new(),
        memory: 0.0,
    };
    let output = |name: &str| Path::new(FOLDER).join(format!("{name}.csv"));
    let mut ours = Command::new(build_program("derm-cli", "derm")?);
    ours.arg("predict").arg(pictures).args(["--model", MODEL, "--csv", "--threads", CORES]);
    ours.args(["--quiet", "-o"]).arg(output("derm"));
    let mut programs = vec![program(OURS, ours, output("derm"))];

    let list: (&str, &[&str]) = ("xtask/peers/requirements-predict.txt", &[]);
    let python = match environment(&format!("{FOLDER}/python"), &[list]) {
        Ok(python) => python,
        Err(error) => {
            println!("SKIPPED the Python programs: {error:#}");
            return Ok(programs);
        }
    };
    let manifest = std::fs::read_to_string(Path::new(MODEL).join("model.toml"))?;
    let manifest = derm::Manifest::parse(&manifest).map_err(anyhow::Error::msg)?;
    let manifest = serde_json::to_string(&manifest)?;
    let wanted = named(&arguments.peers, &PEERS.map(|(how, _)| how));
    for (how, name) in PEERS.into_iter().filter(|(how, _)| wanted.iter().any(|one| one == how)) {
        let mut command = Command::new(&python);
        command.arg("xtask/peers/predict.py").arg(how).arg(Path::new(MODEL).join("model.onnx"));
        command.arg(&manifest).args([pictures, &output(how)]).arg(CORES);
        programs.push(program(name, command, output(how)));
    }
    Ok(programs)
}

/// Runs a program once.
fn measure(program: &mut Program, pictures: usize) -> anyhow::Result<()> {
    let _ = std::fs::remove_file(&program.output);
    let (used, start) = (children_seconds()?, Instant::now());
    let mut child = program.command.stdin(Stdio::null()).stdout(Stdio::null()).spawn()?;
    let status = loop {
        // `None` once it has ended.
        let memory = proportional(child.id()).unwrap_or_default();
        program.memory = program.memory.max(memory as f64 / MIB);
        if let Some(status) = child.try_wait()? {
            break status;
        }
        std::thread::sleep(PERIOD);
    };
    program.rates.push(pictures as f64 / start.elapsed().as_secs_f64());
    program.costs.push(1e3 * (children_seconds()? - used) / pictures as f64);
    ensure!(status.success(), "{status}");
    Ok(())
}

/// A folder with so many different JPEG files of about 800x600, as cameras write them: parts of the example of several sizes,
/// in several qualities; drawn once.
fn pictures(count: usize) -> anyhow::Result<PathBuf> {
    let folder = Path::new(FOLDER).join(format!("pictures-{count}"));
    if folder.read_dir().is_ok_and(|files| files.count() == count) {
        return Ok(folder);
    }
    std::fs::create_dir_all(&folder)?;
    let whole = photograph(1600, 1200)?;
    let draw = |number: usize| -> anyhow::Result<()> {
        let mut random = fastrand::Rng::with_seed(number as u64);
        let width = random.u32(800..1600);
        let height = width * 3 / 4;
        let (left, top) = (random.u32(0..=1600 - width), random.u32(0..=1200 - height));
        let part = imageops::crop_imm(&whole, left, top, width, height).to_image();
        let width = random.u16(720..880);
        let height = width / 4 * 3;
        let filter = imageops::FilterType::Triangle;
        let part: RgbImage = imageops::resize(&part, width.into(), height.into(), filter);
        let file = folder.join(format!("{number:05}.jpg"));
        let mut encoder = Encoder::new_file(file, random.u8(75..96))?;
        encoder.set_sampling_factor(SamplingFactor::F_2_2);
        encoder.encode(&part, width, height, ColorType::Rgb)?;
        Ok(())
    };
    (0..count).into_par_iter().try_for_each(draw)?;
    Ok(folder)
}

/// The probabilities of each picture: the last columns of a CSV file.
fn probabilities(file: &Path) -> anyhow::Result<Vec<Vec<f64>>> {
    let text = std::fs::read_to_string(file).with_context(|| file.display().to_string())?;
    // Of derm's columns, the first class is the one behind `error`; of the peers', behind `picture`.
    let header: Vec<&str> = text.lines().next().context("an empty file")?.split(',').collect();
    let first = header.iter().rposition(|name| ["picture", "error"].contains(&name.trim()));
    let classes = header.len() - 1 - first.context("no column picture")?;
    let row = |line: &str| {
        // From the end: other columns may have commas in them.
        let values = line.trim().rsplit(',').take(classes).map(|value| Ok(value.parse()?));
        let mut values = values
            .collect::<anyhow::Result<Vec<f64>>>()
            .with_context(|| format!("a row without probabilities: {line}"))?;
        values.reverse();
        Ok(values)
    };
    text.lines().skip(1).map(row).collect()
}

/// The share of pictures with the same most probable class, and the largest difference of two probabilities.
fn compared(ours: &[Vec<f64>], theirs: &[Vec<f64>]) -> anyhow::Result<[f64; 2]> {
    ensure!(ours.len() == theirs.len(), "{} rows and {}", ours.len(), theirs.len());
    let best = |row: &[f64]| (0..row.len()).max_by(|&a, &b| row[a].total_cmp(&row[b]));
    let pairs = || ours.iter().zip(theirs);
    let same = pairs().filter(|(a, b)| best(a) == best(b)).count();
    let values = pairs().flat_map(|(a, b)| a.iter().zip(b));
    let off = values.map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    Ok([same as f64 / ours.len() as f64, off])
}
