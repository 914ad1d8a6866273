//! `cargo xtask instructions`: how many instructions each kernel takes, counted by valgrind, against
//! what `xtask/instructions.toml` says. Counts do not depend on how busy the machine is.

use anyhow::{Context, bail, ensure};
use derm_kernels::{
    ConvCall, ConvGeometry, ConvPlan, Epilogue, Isa, OutputPart, PackedConv, Precision, Unary,
    Window, WindowAxis, softmax,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

const FILE: &str = "xtask/instructions.toml";
/// Growth that is refused.
const LIMIT: f64 = 0.03;

/// Counts the instructions of each kernel (valgrind) and fails where they grew by more than 3 %
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Write what was counted as the figures to hold
    #[arg(long)]
    write: bool,
    /// Run this kernel so often, and nothing else: what is counted
    #[arg(long, hide = true, num_args = 2, value_names = ["KERNEL", "ROUNDS"])]
    run: Vec<String>,
}

/// The committed figures.
#[derive(Debug, Serialize, Deserialize)]
struct Figures {
    /// The compiler that made what was counted.
    rustc: String,
    /// Float32 values in a vector: valgrind knows AVX2, not AVX-512.
    lanes: usize,
    /// Instructions of one run.
    instructions: BTreeMap<String, u64>,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    if let [kernel, rounds] = &arguments.run[..] {
        println!("{}", Isa::best().lanes());
        let mut run = prepared(kernel).context("no such kernel")?;
        (0..rounds.parse()?).for_each(|_| run());
        return Ok(());
    }
    if Command::new("valgrind").arg("--version").output().is_err() {
        println!("SKIPPED: there is no valgrind");
        return Ok(());
    }
    let found = count_all()?;
    if arguments.write {
        std::fs::write(FILE, toml::to_string(&found)?)?;
        println!("wrote {FILE}");
        return Ok(());
    }
    let text = std::fs::read_to_string(FILE).context(FILE)?;
    let committed: Figures = toml::from_str(&text).context(FILE)?;
    let mut grown = Vec::new();
    println!("| kernel | instructions | committed | change |\n|---|---:|---:|---:|");
    for (kernel, &count) in &found.instructions {
        let Some(&before) = committed.instructions.get(kernel) else {
            bail!("{kernel} is not in {FILE}; `cargo xtask instructions --write`");
        };
        let change = count as f64 / before as f64 - 1.0;
        println!("| {kernel} | {count} | {before} | {:+.1} % |", change * 100.0);
        if change > LIMIT {
            grown.push(kernel.clone());
        }
    }
    if (&found.rustc, found.lanes) != (&committed.rustc, committed.lanes) {
        println!(
            "SKIPPED the limit: {} with vectors of {}, the figures are of {} with {}",
            found.rustc, found.lanes, committed.rustc, committed.lanes
        );
        return Ok(());
    }
    ensure!(grown.is_empty(), "more than {} % above {FILE}: {grown:?}", LIMIT * 100.0);
    Ok(())
}

fn count_all() -> anyhow::Result<Figures> {
    let output = Command::new("rustc").arg("--version").output().context("rustc")?;
    let rustc = String::from_utf8(output.stdout)?.trim().to_owned();
    let folder = tempfile::tempdir()?;
    let mut instructions = BTreeMap::new();
    let mut lanes = 0;
    for kernel in KERNELS {
        // What is done once (and starting the process) is in both.
        let (once, _) = count(kernel, 1, folder.path())?;
        let (thrice, wide) = count(kernel, 3, folder.path())?;
        lanes = wide;
        instructions.insert(kernel.to_owned(), (thrice - once) / 2);
    }
    Ok(Figures { rustc, lanes, instructions })
}

/// Instructions of a process that runs a kernel so often, and how wide its vectors are.
fn count(kernel: &str, rounds: usize, folder: &Path) -> anyhow::Result<(u64, usize)> {
    let output = Command::new("valgrind")
        .arg("--tool=callgrind")
        .arg(format!("--callgrind-out-file={}", folder.join("out").display()))
        .arg(std::env::current_exe()?)
        .args(["instructions", "--run", kernel, &rounds.to_string()])
        .output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "valgrind: {said}");
    let collected = said.lines().find_map(|line| line.split("Collected :").nth(1));
    let count = collected.with_context(|| format!("valgrind counted nothing: {said}"))?;
    Ok((count.trim().parse()?, String::from_utf8(output.stdout)?.trim().parse()?))
}

const KERNELS: [&str; 10] = [
    "product",
    "product of few places",
    "convolution",
    "stem",
    "winograd, weights kept",
    "winograd, pixels kept",
    "depthwise 3x3",
    "depthwise 5x5, stride 2",
    "silu",
    "softmax",
];

/// A kernel with its data, ready to run.
fn prepared(kernel: &str) -> Option<Box<dyn FnMut()>> {
    let clamp = Unary::Clamp(0.0, 6.0);
    Some(match kernel {
        "product" => convolution(ConvGeometry::product(784, 40, 240).ok()?, clamp),
        "product of few places" => {
            convolution(ConvGeometry::product(49, 192, 320).ok()?, Unary::Silu)
        }
        "convolution" => convolution(square(28, 3, 2, [48, 96, 1])?, clamp),
        "stem" => convolution(square(112, 3, 2, [3, 32, 1])?, clamp),
        "winograd, weights kept" => convolution(square(38, 3, 1, [48, 64, 1])?, Unary::Silu),
        "winograd, pixels kept" => convolution(square(14, 3, 1, [128, 128, 1])?, clamp),
        "depthwise 3x3" => convolution(square(28, 3, 1, [144, 144, 144])?, clamp),
        "depthwise 5x5, stride 2" => convolution(square(28, 5, 2, [144, 144, 144])?, clamp),
        "silu" => {
            let mut values = numbers(10_000);
            Box::new(move || Unary::Silu.apply(Isa::best(), &mut values))
        }
        "softmax" => {
            let mut values = numbers(197 * 197);
            Box::new(move || softmax(Isa::best(), 197, &mut values))
        }
        _ => return None,
    })
}

/// A square convolution: pixels, taps and stride of a side; input and output channels, and groups.
fn square(
    input: usize,
    kernel: usize,
    stride: usize,
    [inputs, outputs, groups]: [usize; 3],
) -> Option<ConvGeometry> {
    let (output, before) = (input.div_ceil(stride), kernel / 2);
    let window = Window { input, output, kernel, stride, dilation: 1, before };
    let axis = WindowAxis::new(window).ok()?;
    ConvGeometry::new([axis, axis], inputs, outputs, groups).ok()
}

fn numbers(count: usize) -> Vec<f32> {
    let mut random = fastrand::Rng::with_seed(1);
    (0..count).map(|_| random.f32() - 0.5).collect()
}

fn convolution(geometry: ConvGeometry, function: Unary) -> Box<dyn FnMut()> {
    let (taps, depth) = (geometry.taps(), geometry.depth());
    let weights = numbers(geometry.weights());
    let weight = |o: usize, i: usize, tap: usize| weights[(o * depth + i) * taps + tap];
    let packed = PackedConv::new(Isa::best(), Precision::F16, &geometry, None, weight);
    let plan = ConvPlan::new(packed, &geometry);
    let input = numbers(geometry.input_len());
    let mut values = vec![0.0; geometry.output_len()];
    let mut scratch = vec![0.0; plan.scratch_len()];
    let epilogue = [Epilogue::Unary(function)];
    Box::new(move || {
        let (output, scratch) = (OutputPart::whole(&mut values), &mut scratch[..]);
        plan.run(ConvCall { input: &input, output, epilogue: &epilogue, scratch });
    })
}
