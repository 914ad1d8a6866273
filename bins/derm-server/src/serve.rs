//! The server: listens, and serves HTTP/1.1 until it is told to stop.

use crate::config::Config;
use crate::half_closed::HalfClosed;
use crate::state::State;
use crate::upload::check_announced;
use crate::{housekeeping, middleware, routes};
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
use actix_web::middleware::{NormalizePath, from_fn};
use actix_web::web::Data;
use anyhow::Context;
use std::future::ready;
use std::net::{TcpListener, ToSocketAddrs};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::signal::unix::{SignalKind, signal};

/// Serves until it is told to stop.
pub(crate) async fn serve(config: Config, classifier: derm::Classifier) -> anyhow::Result<()> {
    ignore_file_size_limit()?;
    let (host, port, workers) = (config.host.clone(), config.port, config.http_workers);
    let shutdown = config.shutdown_time();
    let listener = listen(&host, port)?;
    let state = Data::new(State::new(config, classifier)?);
    housekeeping::start(&state);
    let address = listener.local_addr()?;
    tracing::info!(%address, model = state.classifier.manifest().name, "listening");
    cancel_at_the_end(&state, shutdown)?;
    let builder = actix_server::Server::build()
        .workers(workers.get())
        .max_concurrent_connections(1024)
        .shutdown_timeout(shutdown.as_secs());
    let stopping = builder.graceful_shutdown_signal();
    let server = builder.listen("http", listener, move || http(&state, stopping.clone()))?;
    // Pages that only starting needed.
    derm::memory::release_file_pages();
    server.run().await?;
    tracing::info!("stopped");
    Ok(())
}

/// Listens on the first address of HOST that can be listened on.
fn listen(host: &str, port: u16) -> anyhow::Result<TcpListener> {
    let addresses = (host, port).to_socket_addrs();
    let addresses: Vec<_> = addresses
        .with_context(|| {
            format!("HOST={host:?} is neither an address nor a name that can be resolved")
        })?
        .collect();
    TcpListener::bind(&addresses[..])
        .with_context(|| format!("cannot listen on {host}:{port} (HOST, PORT)"))
}

/// Writing beyond RLIMIT_FSIZE is an error like any other: the log drops the line. By default the
/// signal ends the process.
fn ignore_file_size_limit() -> std::io::Result<()> {
    signal(SignalKind::from_raw(libc::SIGXFSZ)).map(drop)
}

/// On SIGTERM, cancels what has not ended by itself shortly before the time for shutting down is over.
fn cancel_at_the_end(state: &Data<State>, limit: Duration) -> std::io::Result<()> {
    let mut told = signal(SignalKind::terminate())?;
    let state = state.clone();
    actix_web::rt::spawn(async move {
        told.recv().await;
        state.shutdown.cancel_within(limit).await;
        state.classifier.cancel();
    });
    Ok(())
}

/// HTTP/1.1 on one connection after the other.
fn http(
    state: &Data<State>,
    stopping: GracefulShutdownSignal,
) -> impl ServiceFactory<TcpStream, Config = (), Response = (), Error = DispatchError, InitError = ()>
+ use<> {
    let admit = |stream: TcpStream| {
        let peer = stream.peer_addr().ok();
        let _ = stream.set_nodelay(true);
        ready(Ok::<_, DispatchError>((HalfClosed::new(stream), peer)))
    };
    let config = state.clone();
    let expected = move |request: Request| {
        let checked = check_announced(request.headers(), config.config.max_upload_bytes);
        ready(checked.map(|_| request).map_err(|error| {
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
        .client_request_timeout(Duration::from_secs(10))
        .h1_allow_half_closed(true)
        .expect(fn_service(expected))
        .on_connect_ext(|stream: &HalfClosed<TcpStream>, data| {
            data.insert(stream.peer());
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
    Response = ServiceResponse<BoxBody>,
    Error = actix_web::Error,
    InitError = (),
> + use<> {
    let application = App::new()
        .app_data(state.clone())
        // Paths work with and without the closing slash.
        .wrap(NormalizePath::trim())
        .wrap(from_fn(middleware::observe))
        .configure(routes::configure);
    map_config(application.into_factory(), |()| AppConfig::default())
}
