//! `cargo xtask compare`: ours beside what others would run, in turns, on the same files and pictures.

mod engines;

/// Times ours beside onnxruntime, OpenVINO, ncnn, MNN, RTen and tract, in turns
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Models of the zoo; all of the table where none is named
    #[arg(long, value_delimiter = ',')]
    models: Vec<String>,
    /// Engines beside ours; all where none is named
    #[arg(long, value_delimiter = ',')]
    engines: Vec<String>,
    /// Threads inside one inference
    #[arg(long, value_delimiter = ',', default_value = "1,2")]
    threads: Vec<usize>,
    /// Turns of each
    #[arg(long, default_value_t = 15)]
    rounds: usize,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    engines::run(arguments)
}
