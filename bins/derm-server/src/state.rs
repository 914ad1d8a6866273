//! State that all requests share.

use crate::access::Access;
use crate::clients::{Client, ClientAddress, TrustedProxies};
use crate::config::Config;
use crate::connections::Connections;
use crate::jobs::JobQueue;
use crate::lifecycle::Lifecycle;
use crate::metrics::Metrics;
use crate::models::Models;
use crate::permits::Permits;
use crate::shutdown::Shutdown;
use crate::upload::largest_body;
use actix_web::HttpRequest;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Instant;

/// Connections to METRICS_PORT that may be open at once; beyond, the oldest idle one gives way.
const SCRAPERS: usize = 8;

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) models: Models,
    pub(crate) permits: Permits,
    pub(crate) access: Access,
    pub(crate) lifecycle: Lifecycle,
    pub(crate) connections: Arc<Connections>,
    /// Those to METRICS_PORT.
    pub(crate) metrics_connections: Arc<Connections>,
    /// Runs inferences, as many at once as the configuration allows.
    pub(crate) inferences: JobQueue,
    /// Runs what may take a while and is not an inference, one after the other.
    pub(crate) background: JobQueue,
    pub(crate) shutdown: Shutdown,
    pub(crate) metrics: Metrics,
    pub(crate) config: Config,
    pub(crate) started: Instant,
    /// Predictions answered since the start.
    pub(crate) predictions: AtomicU64,
}

impl State {
    pub(crate) fn new(config: Config, models: Models) -> anyhow::Result<State> {
        let concurrent = config.max_concurrent_inferences.get();
        let (inferences, background) =
            (JobQueue::new("inference", concurrent)?, JobQueue::new("background", 1)?);
        // Pages that only starting needed do not count as used.
        derm::memory::release_file_pages();
        let connections = config.max_connections();
        Ok(State {
            access: Access::new(&config)?,
            lifecycle: Lifecycle::default(),
            models,
            inferences,
            shutdown: Shutdown::default(),
            metrics: Metrics::new()?,
            background,
            permits: Permits::new(
                concurrent,
                largest_body(config.max_upload_bytes),
                connections,
                usize::try_from(config.budget()).unwrap_or(usize::MAX),
                derm::memory::usage().map_or(0, |usage| usage.rss as usize),
            ),
            connections: Arc::new(Connections::new(connections, config.trusted_proxies.clone())),
            metrics_connections: Arc::new(Connections::new(SCRAPERS, TrustedProxies::default())),
            config,
            started: Instant::now(),
            predictions: AtomicU64::new(0),
        })
    }

    /// The address of the client that sends a request.
    pub(crate) fn client_address(&self, request: &HttpRequest) -> ClientAddress {
        let peer = request.peer_addr().map_or(IpAddr::from(Ipv4Addr::LOCALHOST), |peer| peer.ip());
        self.config.trusted_proxies.client(peer, request.headers()).into()
    }

    /// The client that sends a request.
    pub(crate) fn client(&self, request: &HttpRequest) -> Arc<Client> {
        self.permits.client(self.client_address(request))
    }
}
