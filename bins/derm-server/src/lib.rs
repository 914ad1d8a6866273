//! The server as a library, for the binary of the same name and for fuzzing. Configuration comes from
//! the environment; see `docs/deployment-checklist.md` for every variable.

mod access;
mod answer;
mod answer_body;
mod batch;
mod bounded;
mod check;
mod clients;
mod config;
mod connections;
mod data_url;
mod environment;
mod error;
mod excerpt;
#[cfg(fuzzing)]
pub mod fuzz;
mod half_closed;
mod health;
mod housekeeping;
mod html;
mod inference;
mod intake;
mod jobs;
mod lifecycle;
mod logging;
mod metrics;
mod middleware;
mod models;
#[cfg(test)]
mod openapi;
mod parameters;
mod permits;
mod reload;
mod routes;
mod serve;
mod shutdown;
mod state;
mod systemd;
mod upload;
mod v1;
mod v2;

use clap::{CommandFactory, Parser};
use config::Config;
use std::io::Write;
use std::path::PathBuf;

/// Serves a classifier of skin lesions over HTTP, with Grad-CAM heatmaps, in little memory.
///
/// Configured by environment variables, which are described below.
#[derive(Parser)]
#[command(name = "derm-server", disable_version_flag = true)]
#[command(after_help = "--help describes the environment variables.")]
#[command(after_long_help = environment::help())]
struct Arguments {
    /// Validate the configuration and the model, print what was found, and exit
    #[arg(long)]
    check: bool,
    /// With --check: compare with the probabilities in this CSV file (a picture's path, then one
    /// probability for each class), and say which preprocessing would fit better
    #[arg(long, requires = "check", value_name = "FILE.csv")]
    against: Option<PathBuf>,
    /// Print a draft of the manifest of this ONNX file, and exit
    #[arg(long, conflicts_with_all = ["check", "health"], value_name = "MODEL.onnx")]
    new_manifest: Option<PathBuf>,
    /// Ask the server that runs on HOST and PORT whether it is healthy; for container health checks
    #[arg(long, conflicts_with = "check")]
    health: bool,
    /// Print the version, and the license of the bundled model's weights
    #[arg(short = 'V', long, conflicts_with_all = ["check", "health"])]
    version: bool,
    /// Print the man page, and exit; for packages
    #[arg(long, hide = true, conflicts_with_all = ["check", "health"])]
    man: bool,
}

impl Arguments {
    /// Whether the server is to run, instead of a command that ends.
    fn serves(&self) -> bool {
        !(self.check || self.new_manifest.is_some() || self.health || self.version || self.man)
    }
}

/// Reads the command line and the environment, and serves until it is told to stop.
pub fn main() {
    let arguments = Arguments::parse();
    if arguments.serves() {
        derm::memory::restart_with_small_cache();
    }
    derm::memory::tune_allocator();
    if let Err(error) = run(&arguments) {
        // One line, for the log.
        let _ = writeln!(std::io::stderr(), "derm-server: {error:#}");
        std::process::exit(1);
    }
}

fn run(arguments: &Arguments) -> anyhow::Result<()> {
    if arguments.version {
        writeln!(std::io::stdout(), "{}", models::version())?;
        return Ok(());
    }
    if arguments.man {
        std::io::stdout().write_all(&environment::man(Arguments::command())?)?;
        return Ok(());
    }
    if let Some(model) = &arguments.new_manifest {
        write!(std::io::stdout(), "{}", derm::draft_manifest(model)?)?;
        return Ok(());
    }
    let config = Config::from_environment()?;
    if arguments.health {
        return health::ask(&config);
    }
    let _last_lines = logging::start(&config.rust_log)?;
    let classifiers = models::classifiers(&config)?;
    if arguments.check {
        check::print(&config, &classifiers)?;
        return match &arguments.against {
            Some(file) => check::compare(&config, file),
            None => Ok(()),
        };
    }
    actix_web::rt::System::new().block_on(serve::serve(config, models::Models::new(classifiers)))
}
