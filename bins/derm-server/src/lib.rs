//! The server as a library, for the binary of the same name and for fuzzing. Configuration comes from
//! the environment; see `docs/deployment-checklist.md` for every variable.

mod answer;
mod check;
mod config;
mod data_url;
mod error;
#[cfg(fuzzing)]
pub mod fuzz;
mod health;
mod housekeeping;
mod html;
mod intake;
mod jobs;
mod logging;
mod middleware;
mod model;
mod parameters;
mod permits;
mod routes;
mod state;
mod upload;

use actix_web::middleware::{NormalizePath, from_fn};
use actix_web::web::Data;
use actix_web::{App, HttpServer};
use anyhow::Context;
use clap::Parser;
use config::Config;
use state::State;
use std::io::Write;
use std::time::Duration;

/// Serves a classifier of skin lesions over HTTP, with Grad-CAM heatmaps, in little memory.
///
/// Configured by environment variables: HOST, PORT, MODEL_PATH, ENABLE_GRADCAM, THREADS,
/// OMP_NUM_THREADS, WORKERS, TIMEOUT, UPLOAD_SECONDS, MAX_REQUESTS, MAX_REQUESTS_JITTER,
/// MODEL_IDLE_SECONDS, MAX_UPLOAD_BYTES, MAX_IMAGE_PIXELS, MEMORY_BUDGET_MB, WEIGHTS, RUST_LOG.
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

/// Reads the command line and the environment, and serves until it is told to stop.
pub fn main() {
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
    logging::start(&config.rust_log)?;
    let classifier = model::classifier(&config)?;
    if arguments.check {
        return check::print(&config, &classifier);
    }
    actix_web::rt::System::new().block_on(serve(config, classifier))
}

async fn serve(config: Config, classifier: derm::Classifier) -> anyhow::Result<()> {
    let (host, port, workers) = (config.host.clone(), config.port, config.http_workers);
    let shutdown = config.timeout().as_secs();
    let state = Data::new(State::new(config, classifier)?);
    housekeeping::start(&state);
    let app_state = state.clone();
    let server = HttpServer::new(move || {
        App::new()
            .app_data(app_state.clone())
            // Paths work with and without the closing slash.
            .wrap(NormalizePath::trim())
            .wrap(from_fn(middleware::observe))
            .configure(routes::configure)
    })
    .workers(workers.get())
    .max_connections(1024)
    .client_request_timeout(Duration::from_secs(10))
    // A client that closes its side is gone: its request is dropped, and its permit with it.
    .h1_allow_half_closed(false)
    .shutdown_timeout(shutdown)
    .bind((host.as_str(), port))
    .with_context(|| format!("cannot listen on {host}:{port} (HOST, PORT)"))?;
    for address in server.addrs() {
        tracing::info!(%address, model = state.classifier.manifest().name, "listening");
    }
    // Pages that only starting needed.
    derm::memory::release_file_pages();
    server.run().await?;
    tracing::info!("stopped");
    Ok(())
}
