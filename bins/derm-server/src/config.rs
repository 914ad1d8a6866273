//! Configuration from the environment, with the original application's names and defaults.

use anyhow::{bail, ensure};
use derm::Precision;
use serde::{Deserialize, Deserializer};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

/// How long decoding may take: what a damaged or hostile picture can cost.
pub(crate) const DECODING: Duration = Duration::from_secs(20);

/// Every environment variable that is read, in lower case.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Config {
    #[serde(default = "default_host")]
    pub(crate) host: String,
    #[serde(default = "default_port")]
    pub(crate) port: u16,
    #[serde(default)]
    pub(crate) model_path: Option<PathBuf>,
    #[serde(default = "default_true", deserialize_with = "flag")]
    pub(crate) enable_gradcam: bool,
    /// Inferences at once.
    #[serde(rename = "threads", default = "two")]
    pub(crate) max_concurrent_inferences: NonZeroUsize,
    /// Threads inside one inference.
    #[serde(rename = "omp_num_threads", default = "one")]
    pub(crate) intra_op_threads: NonZeroUsize,
    /// Threads that handle connections.
    #[serde(rename = "workers", default = "one")]
    pub(crate) http_workers: NonZeroUsize,
    /// Seconds that a request may take, waiting included.
    #[serde(default = "default_timeout")]
    timeout: u64,
    /// Seconds that a client may take to send its picture.
    #[serde(default = "default_upload_seconds")]
    upload_seconds: u64,
    /// Precision of the weights in memory; `None`: that of the file.
    #[serde(default, deserialize_with = "precision")]
    pub(crate) weights: Option<Precision>,
    /// Predictions from one load of the model to the next; 0: never.
    #[serde(default = "default_max_requests")]
    pub(crate) max_requests: usize,
    #[serde(default = "default_jitter")]
    pub(crate) max_requests_jitter: usize,
    /// Unload the model when unused for so long; 0: never.
    #[serde(default)]
    model_idle_seconds: u64,
    #[serde(default = "default_upload")]
    pub(crate) max_upload_bytes: usize,
    #[serde(default = "default_pixels")]
    pub(crate) max_image_pixels: u64,
    /// MiB that the process may use; `None`: what its limit allows.
    #[serde(default)]
    memory_budget_mb: Option<u64>,
    #[serde(default = "default_log")]
    pub(crate) rust_log: String,
}

impl Config {
    /// Reads and checks the environment.
    pub(crate) fn from_environment() -> anyhow::Result<Config> {
        Config::from_pairs(std::env::vars())
    }

    /// One variable at a time, so that the message names the one that is wrong: serde alone would
    /// say only that some number was invalid.
    pub(crate) fn from_pairs(
        pairs: impl Iterator<Item = (String, String)>,
    ) -> anyhow::Result<Config> {
        // An empty variable counts as not set, since deployment forms leave them so.
        let pairs: Vec<(String, String)> =
            pairs.filter(|(_, value)| !value.trim().is_empty()).collect();
        for pair in &pairs {
            if let Err(error) = envy::from_iter::<_, Config>([pair.clone()]) {
                bail!("{}={:?} is not valid: {error}", pair.0, pair.1);
            }
        }
        let config: Config = envy::from_iter(pairs)?;
        ensure!((1..=86_400).contains(&config.timeout), "TIMEOUT must be 1..=86400 seconds");
        ensure!(
            (1..=3600).contains(&config.upload_seconds),
            "UPLOAD_SECONDS must be 1..=3600 seconds"
        );
        ensure!(
            (1024..=1 << 30).contains(&config.max_upload_bytes),
            "MAX_UPLOAD_BYTES must be 1024..=1073741824"
        );
        ensure!(
            config.memory_budget_mb.is_none_or(|mib| (16..=1 << 20).contains(&mib)),
            "MEMORY_BUDGET_MB must be 16..=1048576"
        );
        ensure!(config.max_image_pixels > 0, "MAX_IMAGE_PIXELS must be at least 1");
        for (name, value) in [
            ("THREADS", config.max_concurrent_inferences),
            ("OMP_NUM_THREADS", config.intra_op_threads),
            ("WORKERS", config.http_workers),
        ] {
            ensure!(value.get() <= 256, "{name} must be 1..=256");
        }
        Ok(config)
    }

    pub(crate) fn timeout(&self) -> Duration {
        Duration::from_secs(self.timeout)
    }

    pub(crate) fn upload_time(&self) -> Duration {
        Duration::from_secs(self.upload_seconds)
    }

    /// Bytes that the process may use: MEMORY_BUDGET_MB, or its limit less a tenth (the system's
    /// own bookkeeping counts against a container's limit, too).
    pub(crate) fn budget(&self) -> u64 {
        let limit = derm::memory::limit().bytes;
        self.memory_budget_mb.map_or(limit - limit / 10, |mib| mib << 20)
    }

    pub(crate) fn model_idle(&self) -> Option<Duration> {
        (self.model_idle_seconds > 0).then(|| Duration::from_secs(self.model_idle_seconds))
    }
}

/// `f16`, `f32`, or `file`: as in the file.
fn precision<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Precision>, D::Error> {
    match String::deserialize(deserializer)?.trim().to_ascii_lowercase().as_str() {
        "file" => Ok(None),
        "f16" => Ok(Some(Precision::F16)),
        "f32" => Ok(Some(Precision::F32)),
        _ => Err(serde::de::Error::custom("expected file, f16 or f32")),
    }
}

/// `true`, `1`, `yes`, `on` and their opposites, in any case.
fn flag<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    let text = String::deserialize(deserializer)?;
    parse_flag(&text).ok_or_else(|| serde::de::Error::custom("expected true or false"))
}

pub(crate) fn parse_flag(text: &str) -> Option<bool> {
    match text.trim().to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" => Some(true),
        "false" | "0" | "no" | "off" => Some(false),
        _ => None,
    }
}

fn default_host() -> String {
    "0.0.0.0".to_owned()
}
fn default_port() -> u16 {
    8000
}
fn default_true() -> bool {
    true
}
fn one() -> NonZeroUsize {
    NonZeroUsize::MIN
}
fn two() -> NonZeroUsize {
    NonZeroUsize::MIN.saturating_add(1)
}
fn default_timeout() -> u64 {
    300
}
fn default_upload_seconds() -> u64 {
    30
}
fn default_max_requests() -> usize {
    100
}
fn default_jitter() -> usize {
    10
}
fn default_upload() -> usize {
    5_242_880
}
fn default_pixels() -> u64 {
    25_000_000
}
fn default_log() -> String {
    "info".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> anyhow::Result<Config> {
        Config::from_pairs(pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())))
    }

    #[test]
    fn the_originals_defaults() {
        let config = read(&[("PATH", "/bin"), ("PORT", "")]).unwrap();
        assert!(config.enable_gradcam);
        let threads = (config.http_workers.get(), config.max_concurrent_inferences.get());
        assert_eq!((config.port, threads), (8000, (1, 2)));
        assert_eq!(config.intra_op_threads.get(), 1);
        assert_eq!(
            (config.timeout, config.max_requests, config.max_requests_jitter),
            (300, 100, 10)
        );
        assert_eq!(config.max_upload_bytes, 5_242_880);
        assert_eq!(config.model_idle(), None);
    }

    #[test]
    fn flags_in_any_spelling() {
        for (text, value) in [("False", false), ("0", false), ("TRUE", true), ("on", true)] {
            assert_eq!(read(&[("ENABLE_GRADCAM", text)]).unwrap().enable_gradcam, value);
        }
    }

    #[test]
    fn a_bad_value_is_one_line_that_names_it() {
        for (name, value) in [
            ("ENABLE_GRADCAM", "perhaps"),
            ("PORT", "99999"),
            ("THREADS", "0"),
            ("TIMEOUT", "-1"),
            ("TIMEOUT", "0"),
            ("MAX_UPLOAD_BYTES", "5MB"),
            ("OMP_NUM_THREADS", "1000"),
        ] {
            let message = format!("{:#}", read(&[(name, value)]).unwrap_err());
            assert!(message.contains(name) && !message.contains('\n'), "{message}");
        }
    }
}
