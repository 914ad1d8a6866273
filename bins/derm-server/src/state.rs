//! State that all requests share.

use crate::config::Config;
use crate::jobs::JobQueue;
use crate::permits::Permits;
use crate::shutdown::Shutdown;
use crate::upload::largest_body;
use derm::Classifier;
use std::sync::atomic::AtomicU64;
use std::time::Instant;

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) classifier: Classifier,
    pub(crate) permits: Permits,
    /// Runs inferences, as many at once as the configuration allows.
    pub(crate) inferences: JobQueue,
    /// Runs what may take a while and is not an inference, one after the other.
    pub(crate) background: JobQueue,
    pub(crate) shutdown: Shutdown,
    pub(crate) config: Config,
    pub(crate) started: Instant,
    /// Predictions answered since the start.
    pub(crate) predictions: AtomicU64,
}

impl State {
    pub(crate) fn new(config: Config, classifier: Classifier) -> std::io::Result<State> {
        let concurrent = config.max_concurrent_inferences.get();
        let (inferences, background) =
            (JobQueue::new("inference", concurrent)?, JobQueue::new("background", 1)?);
        // Pages that only starting needed do not count as used.
        derm::memory::release_file_pages();
        Ok(State {
            classifier,
            inferences,
            shutdown: Shutdown::default(),
            background,
            permits: Permits::new(
                concurrent,
                largest_body(config.max_upload_bytes),
                usize::try_from(config.budget()).unwrap_or(usize::MAX),
                derm::memory::usage().map_or(0, |usage| usage.rss as usize),
            ),
            config,
            started: Instant::now(),
            predictions: AtomicU64::new(0),
        })
    }
}
