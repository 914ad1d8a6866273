//! `derm-server`: a classifier behind HTTP. Configuration comes from the environment; see
//! `docs/deployment-checklist.md` for every variable.

mod access;
mod answer;
mod answer_body;
mod check;
mod clients;
mod config;
mod connections;
mod data_url;
mod error;
mod excerpt;
mod half_closed;
mod health;
mod housekeeping;
mod html;
mod intake;
mod jobs;
mod lifecycle;
mod logging;
mod middleware;
mod model;
mod parameters;
mod permits;
mod reload;
mod routes;
mod serve;
mod shutdown;
mod state;
mod systemd;
mod upload;

use clap::Parser;
use config::Config;
use std::io::Write;

/// Serves a classifier of skin lesions over HTTP, with Grad-CAM heatmaps, in little memory.
///
/// Configured by environment variables: HOST, PORT, MODEL_PATH, ENABLE_GRADCAM, THREADS,
/// OMP_NUM_THREADS, WORKERS, TIMEOUT, UPLOAD_SECONDS, MAX_REQUESTS, MAX_REQUESTS_JITTER,
/// MODEL_IDLE_SECONDS, MAX_UPLOAD_BYTES, MAX_IMAGE_PIXELS, MEMORY_BUDGET_MB, MAX_CONNECTIONS,
/// TRUSTED_PROXIES, PRELOAD, DRAIN_SECONDS, EXIT_IDLE_SECONDS, ADMIN_KEY, API_KEYS_FILE, CORS_ORIGINS,
/// RATE_LIMIT, WEIGHTS, KEEP_ALIVE_SECONDS, SHUTDOWN_SECONDS, RUST_LOG.
#[derive(Parser)]
#[command(disable_version_flag = true)]
struct Arguments {
    /// Validate the configuration and the model, print what was found, and exit
    #[arg(long)]
    check: bool,
    /// Ask the server that runs on HOST and PORT whether it is healthy; for container health checks
    #[arg(long, conflicts_with = "check")]
    health: bool,
    /// Print the version, and the license of the bundled model's weights
    #[arg(short = 'V', long, conflicts_with_all = ["check", "health"])]
    version: bool,
}

fn main() {
    derm::memory::tune_allocator();
    let arguments = Arguments::parse();
    if let Err(error) = run(&arguments) {
        // One line, for the log.
        let _ = writeln!(std::io::stderr(), "derm-server: {error:#}");
        std::process::exit(1);
    }
}

fn run(arguments: &Arguments) -> anyhow::Result<()> {
    if arguments.version {
        writeln!(std::io::stdout(), "{}", model::version())?;
        return Ok(());
    }
    let config = Config::from_environment()?;
    if arguments.health {
        return health::ask(&config);
    }
    let _last_lines = logging::start(&config.rust_log)?;
    let classifier = model::classifier(&config)?;
    if arguments.check {
        return check::print(&config, &classifier);
    }
    actix_web::rt::System::new().block_on(serve::serve(config, classifier))
}
