//! The server: listens, gives each connection its place, and serves HTTP/1.1 until it is told to stop.

use crate::config::Config;
use crate::connections::{GuardedStream, HEAD_LIMIT};
use crate::half_closed::HalfClosed;
use crate::lifecycle::StopSignals;
use crate::models::Models;
use crate::state::State;
use crate::upload::check_announced;
use crate::{access, housekeeping, lifecycle, middleware, reload, routes, systemd};
use actix_http::error::DispatchError;
use actix_http::{HttpMessage, HttpService, Request, Response};
use actix_server::GracefulShutdownSignal;
use actix_service::{
    IntoServiceFactory, ServiceFactory, ServiceFactoryExt, fn_service, map_config,
};
use actix_web::App;
use actix_web::ResponseError;
use actix_web::body::BoxBody;
use actix_web::dev::{AppConfig, ServiceResponse};
use actix_web::middleware::{Condition, NormalizePath, from_fn};
use actix_web::web::Data;
use anyhow::Context;
use std::future::ready;
use std::net::{TcpListener, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::signal::unix::{SignalKind, signal};

/// Connections that are accepted beyond the limit, for as long as it takes others to give way.
const GIVING_WAY: usize = 128;
/// Connections that the system holds before they are accepted.
const BACKLOG: i32 = 2048;

/// Serves until it is told to stop.
pub(crate) async fn serve(config: Config, models: Models) -> anyhow::Result<()> {
    ignore_file_size_limit()?;
    let (host, port, workers) = (config.host.clone(), config.port, config.http_workers);
    let (shutdown, connections) = (config.shutdown_time(), config.max_connections());
    let state = Data::new(State::new(config, models)?);
    housekeeping::start(&state);
    if state.config.preload {
        lifecycle::check_models(&state).await.context("PRELOAD")?;
    }
    let listener = match systemd::listener()? {
        Some(listener) => listener,
        None => listen(&host, port).context("HOST, PORT")?,
    };
    let address = listener.local_addr()?;
    let names: Vec<&str> = state.models.all().iter().map(|model| model.name.as_str()).collect();
    tracing::info!(%address, model = names.join(", "), "listening");
    reload::on_hangup(&state)?;
    let builder = actix_server::Server::build()
        .workers(workers.get())
        .max_concurrent_connections(connections + GIVING_WAY)
        .shutdown_signal(lifecycle::stopped(state.clone(), StopSignals::new()?))
        .shutdown_timeout(shutdown.as_secs());
    let stopping = builder.graceful_shutdown_signal();
    cancel_at_the_end(&state, &stopping, shutdown);
    let served = state.clone();
    let ended = stopping.clone();
    let mut builder =
        builder.listen("http", listener, move || http(&served, Port::Api, ended.clone()))?;
    if let Some(port) = state.config.metrics_port {
        let listener = listen(&host, port).context("METRICS_PORT")?;
        tracing::info!(address = %listener.local_addr()?, "metrics");
        let serve = move || http(&state, Port::Metrics, stopping.clone());
        builder = builder.listen("metrics", listener, serve)?;
    }
    let server = builder.run();
    // Pages that only starting needed.
    derm::memory::release_file_pages();
    systemd::notify_ready();
    server.await?;
    tracing::info!("stopped");
    Ok(())
}

/// What a port answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Port {
    /// Everything.
    Api,
    /// `/metrics`, without a key.
    Metrics,
}

/// Listens on the first address of HOST that can be listened on.
fn listen(host: &str, port: u16) -> anyhow::Result<TcpListener> {
    let addresses = (host, port).to_socket_addrs();
    let addresses: Vec<_> = addresses
        .with_context(|| {
            format!("HOST={host:?} is neither an address nor a name that can be resolved")
        })?
        .collect();
    let listener = TcpListener::bind(&addresses[..])
        .with_context(|| format!("cannot listen on {host}:{port}"))?;
    rustix::net::listen(&listener, BACKLOG)?;
    Ok(listener)
}

/// Writing beyond RLIMIT_FSIZE is an error like any other: the log drops the line. By default the
/// signal ends the process.
fn ignore_file_size_limit() -> std::io::Result<()> {
    signal(SignalKind::from_raw(libc::SIGXFSZ)).map(drop)
}

/// When connections are no longer taken, cancels what has not ended by itself shortly before the time
/// for shutting down is over.
fn cancel_at_the_end(state: &Data<State>, stopping: &GracefulShutdownSignal, limit: Duration) {
    let (state, stopping) = (state.clone(), stopping.clone());
    actix_web::rt::spawn(async move {
        stopping.notified().await;
        state.shutdown.cancel_within(limit).await;
        state.models.all().iter().for_each(|model| model.classifier.cancel());
    });
}

/// HTTP/1.1 on the connections that find a place.
fn http(
    state: &Data<State>,
    port: Port,
    stopping: GracefulShutdownSignal,
) -> impl ServiceFactory<TcpStream, Config = (), Response = (), Error = DispatchError, InitError = ()>
+ use<> {
    let connections = match port {
        Port::Api => Arc::clone(&state.connections),
        Port::Metrics => Arc::clone(&state.metrics_connections),
    };
    let admit = move |stream: TcpStream| {
        let admitted = stream.peer_addr().ok().and_then(|peer| {
            let _ = stream.set_nodelay(true);
            let stream = GuardedStream::new(stream, peer.ip(), Arc::clone(&connections))?;
            Some((HalfClosed::new(stream), Some(peer)))
        });
        ready(admitted.ok_or(DispatchError::DisconnectTimeout))
    };
    let config = state.clone();
    let expected = move |request: Request| {
        let checked = check_announced(request.headers(), config.config.max_upload_bytes);
        ready(checked.map(|_| request).map_err(|error| {
            config.metrics.refusal(error.reason());
            let mut response = error.error_response();
            middleware::set_security_headers(response.headers_mut());
            Response::<BoxBody>::from(response)
        }))
    };
    let http = HttpService::build()
        .graceful_shutdown_signal(move || {
            let stopping = stopping.clone();
            async move { stopping.notified().await }
        })
        .keep_alive(state.config.keep_alive())
        .client_request_timeout(HEAD_LIMIT)
        .h1_allow_half_closed(true)
        .expect(fn_service(expected))
        .on_connect_ext(|stream: &HalfClosed<GuardedStream>, data| {
            data.insert(stream.inner().connection());
            data.insert(stream.peer());
        })
        .h1(application(state, port));
    fn_service(admit).and_then(http)
}

/// The routes and what is around them.
fn application(
    state: &Data<State>,
    port: Port,
) -> impl ServiceFactory<
    Request,
    Config = (),
    Response = ServiceResponse<BoxBody>,
    Error = actix_web::Error,
    InitError = (),
> + use<> {
    let origins = state.config.cors_origins();
    let routes = match port {
        Port::Api => routes::configure,
        Port::Metrics => routes::configure_metrics,
    };
    let application = App::new()
        .app_data(state.clone())
        // The last one is the first to see a request.
        .wrap(Condition::new(port == Port::Api, from_fn(access::guard)))
        .wrap(Condition::new(!origins.is_empty(), access::cors(&state.config)))
        // Paths work with and without the closing slash.
        .wrap(NormalizePath::trim())
        .wrap(from_fn(middleware::observe))
        .configure(routes);
    map_config(application.into_factory(), |()| AppConfig::default())
}
