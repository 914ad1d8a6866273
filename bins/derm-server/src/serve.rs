//! The server: listens, and gives each connection its place and its limits.

use crate::config::Config;
use crate::connections::{GuardedStream, HEAD_LIMIT};
use crate::lifecycle::StopSignals;
use crate::state::State;
use crate::{access, housekeeping, lifecycle, middleware, reload, routes, systemd};
use actix_http::error::DispatchError;
use actix_http::{HttpService, Request};
use actix_server::GracefulShutdownSignal;
use actix_service::{
    IntoServiceFactory, ServiceFactory, ServiceFactoryExt, fn_service, map_config,
};
use actix_web::App;
use actix_web::dev::AppConfig;
use actix_web::middleware::{Condition, NormalizePath, from_fn};
use actix_web::web::Data;
use anyhow::Context;
use std::future::ready;
use std::net::{TcpListener, ToSocketAddrs};
use std::sync::Arc;
use tokio::net::TcpStream;

/// Connections that are accepted beyond the limit, for as long as it takes others to give way.
const GIVING_WAY: usize = 128;
/// Connections that the system holds before they are accepted.
const BACKLOG: i32 = 2048;

/// Serves until it is told to stop.
pub(crate) async fn serve(config: Config, classifier: derm::Classifier) -> anyhow::Result<()> {
    let (host, port, workers) = (config.host.clone(), config.port, config.http_workers);
    let shutdown = config.timeout().as_secs();
    let connections = config.max_connections();
    crate::ignore_file_size_limit()?;
    let state = Data::new(State::new(config, classifier)?);
    housekeeping::start(&state);
    if state.config.preload {
        lifecycle::check_model(&state).await.context("PRELOAD")?;
    }
    let listener = match systemd::listener()? {
        Some(listener) => listener,
        None => listen(&host, port)
            .with_context(|| format!("cannot listen on {host}:{port} (HOST, PORT)"))?,
    };
    reload::on_hangup(&state)?;
    let stopped = lifecycle::stopped(state.clone(), StopSignals::new()?);
    let address = listener.local_addr()?;
    tracing::info!(%address, model = state.classifier.manifest().name, "listening");
    let builder = actix_server::Server::build()
        .workers(workers.get())
        .max_concurrent_connections(connections + GIVING_WAY)
        .shutdown_signal(stopped)
        .shutdown_timeout(shutdown);
    let stopping = builder.graceful_shutdown_signal();
    let server = builder.listen("http", listener, move || http(&state, stopping.clone()))?;
    // Pages that only starting needed.
    derm::memory::release_file_pages();
    let server = server.run();
    systemd::notify_ready();
    server.await?;
    tracing::info!("stopped");
    Ok(())
}

fn listen(host: &str, port: u16) -> std::io::Result<TcpListener> {
    let addresses: Vec<_> = (host, port).to_socket_addrs()?.collect();
    let listener = TcpListener::bind(&addresses[..])?;
    rustix::net::listen(&listener, BACKLOG)?;
    Ok(listener)
}

/// HTTP/1.1 on the connections that find a place.
fn http(
    state: &Data<State>,
    stopping: GracefulShutdownSignal,
) -> impl ServiceFactory<TcpStream, Config = (), Response = (), Error = DispatchError, InitError = ()>
+ use<> {
    let connections = Arc::clone(&state.connections);
    let admit = move |stream: TcpStream| {
        let peer = stream.peer_addr().ok();
        let _ = stream.set_nodelay(true);
        let guarded = GuardedStream::new(stream, Arc::clone(&connections));
        ready(guarded.map(|stream| (stream, peer)).ok_or(DispatchError::DisconnectTimeout))
    };
    let http = HttpService::build()
        .graceful_shutdown_signal(move || {
            let stopping = stopping.clone();
            async move { stopping.notified().await }
        })
        .client_request_timeout(HEAD_LIMIT)
        // A client that closes its side is gone: its request is dropped, and its permit with it.
        .h1_allow_half_closed(false)
        .on_connect_ext(|stream: &GuardedStream, data| {
            data.insert(stream.connection());
        })
        .h1(application(state));
    fn_service(admit).and_then(http)
}

/// The routes and what is around them.
fn application(
    state: &Data<State>,
) -> impl ServiceFactory<
    Request,
    Config = (),
    Response = actix_web::dev::ServiceResponse<actix_web::body::BoxBody>,
    Error = actix_web::Error,
    InitError = (),
> + use<> {
    let origins = state.config.cors_origins();
    let application = App::new()
        .app_data(state.clone())
        // The last one is the first to see a request.
        .wrap(from_fn(access::guard))
        .wrap(Condition::new(!origins.is_empty(), access::cors(&state.config)))
        // Paths work with and without the closing slash.
        .wrap(NormalizePath::trim())
        .wrap(from_fn(middleware::observe))
        .configure(routes::configure);
    map_config(application.into_factory(), |()| AppConfig::default())
}
