//! Configuration from the environment, with the original application's names and defaults.

use crate::access::RateLimit;
use crate::clients::TrustedProxies;
use crate::connections::CONNECTION_BYTES;
use anyhow::{bail, ensure};
use derm::Precision;
use serde::de::Visitor;
use serde::{Deserialize, Deserializer};
use std::ffi::OsString;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

/// How long decoding may take: what a damaged or hostile picture can cost.
pub(crate) const DECODING: Duration = Duration::from_secs(20);

/// The limit where the system does not say it (there is no `/proc`): that of a small instance.
const UNKNOWN_LIMIT: u64 = 512 << 20;

/// Every environment variable that is read, in lower case.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Config {
    #[serde(default = "default_host")]
    pub(crate) host: String,
    #[serde(default = "default_port")]
    pub(crate) port: u16,
    /// The port that answers `/metrics` in place of [`Config::port`].
    #[serde(default)]
    pub(crate) metrics_port: Option<u16>,
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
    /// Whether a model may have operators that were not compared with onnxruntime.
    #[serde(default, deserialize_with = "flag")]
    pub(crate) allow_unverified_operators: bool,
    /// Seconds that a connection may be idle; 0: it is closed after each answer.
    #[serde(default = "default_keep_alive")]
    keep_alive_seconds: u64,
    /// Seconds from SIGTERM to the end of the process, at most.
    #[serde(default = "default_shutdown")]
    shutdown_seconds: u64,
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
    /// Connections that may be open at once; `None`: what the budget allows.
    #[serde(default)]
    max_connections: Option<usize>,
    /// Whose word is taken for the address of a client.
    #[serde(default)]
    pub(crate) trusted_proxies: TrustedProxies,
    /// Load and check the model before the port opens.
    #[serde(default, deserialize_with = "flag")]
    pub(crate) preload: bool,
    /// Seconds from SIGTERM on in which connections are still taken.
    #[serde(default)]
    drain_seconds: u64,
    /// Stop when nobody has been connected for so long; 0: never.
    #[serde(default)]
    exit_idle_seconds: u64,
    /// The key for `/admin/`; `None`: there is no such path.
    #[serde(default)]
    pub(crate) admin_key: Option<Secret>,
    /// Names and hashes of the keys that predictions need; `None`: they need none.
    #[serde(default)]
    pub(crate) api_keys_file: Option<PathBuf>,
    /// Origins whose pages may read answers, or `*`.
    #[serde(default)]
    cors_origins: String,
    /// Requests that one client may send.
    #[serde(default)]
    pub(crate) rate_limit: Option<RateLimit>,
    #[serde(default = "default_log")]
    pub(crate) rust_log: String,
}

impl Config {
    /// Reads and checks the environment.
    pub(crate) fn from_environment() -> anyhow::Result<Config> {
        Config::from_environment_of(std::env::vars_os())
    }

    /// Variables of others may be of any bytes, and a path too.
    fn from_environment_of(
        variables: impl Iterator<Item = (OsString, OsString)>,
    ) -> anyhow::Result<Config> {
        let (mut pairs, mut path) = (Vec::new(), None);
        for (name, value) in variables {
            let Some(name) = name.to_str().map(str::to_owned) else { continue };
            let is_ours = is_variable(&name);
            match value.into_string() {
                Ok(value) => pairs.push((name, value)),
                Err(value) if is_ours && name.eq_ignore_ascii_case("MODEL_PATH") => {
                    path = Some(value.into());
                }
                Err(value) if is_ours => bail!("{name}={value:?} is not UTF-8"),
                Err(_) => {}
            }
        }
        let mut config = Config::from_pairs(pairs.into_iter())?;
        config.model_path = path.or(config.model_path);
        Ok(config)
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
        let mut config: Config = envy::from_iter(pairs)?;
        config.host = without_brackets(config.host.trim()).to_owned();
        ensure!((1..=86_400).contains(&config.timeout), "TIMEOUT must be 1..=86400 seconds");
        ensure!(
            (1..=3600).contains(&config.upload_seconds),
            "UPLOAD_SECONDS must be 1..=3600 seconds"
        );
        ensure!(config.keep_alive_seconds <= 86_400, "KEEP_ALIVE_SECONDS must be 0..=86400");
        ensure!(
            (1..=3600).contains(&config.shutdown_seconds),
            "SHUTDOWN_SECONDS must be 1..=3600 seconds"
        );
        ensure!(
            (1024..=1 << 30).contains(&config.max_upload_bytes),
            "MAX_UPLOAD_BYTES must be 1024..=1073741824"
        );
        ensure!(
            config.memory_budget_mb.is_none_or(|mib| (16..=1 << 20).contains(&mib)),
            "MEMORY_BUDGET_MB must be 16..=1048576"
        );
        ensure!(
            config.max_connections.is_none_or(|count| (8..=100_000).contains(&count)),
            "MAX_CONNECTIONS must be 8..=100000"
        );
        ensure!(config.drain_seconds <= 3600, "DRAIN_SECONDS must be 0..=3600 seconds");
        let key_length = config.admin_key.as_ref().map_or(MIN_KEY, |key| key.reveal().len());
        ensure!(key_length >= MIN_KEY, "ADMIN_KEY must have at least {MIN_KEY} characters");
        for origin in config.cors_origins() {
            ensure!(
                is_origin(origin),
                "CORS_ORIGINS: {origin:?} is not an origin such as https://example.org"
            );
        }
        ensure!(
            config.metrics_port.is_none_or(|port| port == 0 || port != config.port),
            "METRICS_PORT must not be PORT"
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

    pub(crate) fn keep_alive(&self) -> Duration {
        Duration::from_secs(self.keep_alive_seconds)
    }

    pub(crate) fn shutdown_time(&self) -> Duration {
        Duration::from_secs(self.shutdown_seconds)
    }

    /// Bytes that the process may use: MEMORY_BUDGET_MB, or its limit less a tenth (the system's
    /// own bookkeeping counts against a container's limit, too).
    pub(crate) fn budget(&self) -> u64 {
        let limit = || derm::memory::limit().map_or(UNKNOWN_LIMIT, |limit| limit.bytes);
        self.memory_budget_mb.map_or_else(|| limit() / 10 * 9, |mib| mib << 20)
    }

    /// Connections that may be open at once: MAX_CONNECTIONS, or as many as a tenth of the budget
    /// holds. Not more than the process may have descriptors, less those that it needs itself.
    pub(crate) fn max_connections(&self) -> usize {
        const OWN_DESCRIPTORS: u64 = 64;
        let affordable = self.budget() / 10 / CONNECTION_BYTES as u64;
        let wanted = self.max_connections.unwrap_or(affordable.clamp(256, 1024) as usize);
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
        let possible = limit.unwrap_or(u64::MAX).saturating_sub(OWN_DESCRIPTORS).max(8);
        wanted.min(usize::try_from(possible).unwrap_or(usize::MAX))
    }

    pub(crate) fn drain_time(&self) -> Duration {
        Duration::from_secs(self.drain_seconds)
    }

    pub(crate) fn exit_idle(&self) -> Option<Duration> {
        (self.exit_idle_seconds > 0).then(|| Duration::from_secs(self.exit_idle_seconds))
    }

    pub(crate) fn cors_origins(&self) -> Vec<&str> {
        let origins = self.cors_origins.split([',', ' ']).map(str::trim);
        origins.filter(|origin| !origin.is_empty()).collect()
    }

    pub(crate) fn model_idle(&self) -> Option<Duration> {
        (self.model_idle_seconds > 0).then(|| Duration::from_secs(self.model_idle_seconds))
    }
}

/// Fewest characters of a key.
const MIN_KEY: usize = 16;

/// A value that is never shown.
#[derive(Clone, Deserialize)]
pub(crate) struct Secret(String);

impl Secret {
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("(secret)")
    }
}

/// Whether this is `*` or `SCHEME://HOST[:PORT]`, as browsers send it.
fn is_origin(text: &str) -> bool {
    text == "*"
        || text.split_once("://").is_some_and(|(scheme, host)| {
            ["http", "https"].contains(&scheme)
                && !host.is_empty()
                && host.bytes().all(|byte| byte.is_ascii_graphic() && !b"/?#@".contains(&byte))
        })
}

/// An IPv6 address as it is written in a URL, or any host.
fn without_brackets(host: &str) -> &str {
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}

/// Whether an environment variable is read, by any spelling of its name.
fn is_variable(name: &str) -> bool {
    variables().iter().any(|known| known.eq_ignore_ascii_case(name))
}

/// The variables that are read, in lower case.
pub(crate) fn variables() -> &'static [&'static str] {
    struct Fields<'a>(&'a mut &'static [&'static str]);

    /// Takes the names that the derived `Deserialize` asks for.
    impl<'de> Deserializer<'de> for Fields<'_> {
        type Error = serde::de::value::Error;

        fn deserialize_struct<V: Visitor<'de>>(
            self,
            _: &'static str,
            fields: &'static [&'static str],
            _: V,
        ) -> Result<V::Value, Self::Error> {
            *self.0 = fields;
            Err(serde::de::Error::custom("only the names are wanted"))
        }

        fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Self::Error> {
            Err(serde::de::Error::custom("not a struct"))
        }

        serde::forward_to_deserialize_any! {
            bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf
            option unit unit_struct newtype_struct seq tuple tuple_struct map enum identifier
            ignored_any
        }
    }

    let mut names: &'static [&'static str] = &[];
    let _ = Config::deserialize(Fields(&mut names));
    names
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
fn default_keep_alive() -> u64 {
    75
}
fn default_shutdown() -> u64 {
    25
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
            ("MAX_CONNECTIONS", "1"),
            ("TRUSTED_PROXIES", "10.0.0.0/33"),
            ("PRELOAD", "soon"),
            ("DRAIN_SECONDS", "-1"),
            ("ADMIN_KEY", "short"),
            ("CORS_ORIGINS", "example.org"),
            ("CORS_ORIGINS", "https://example.org/page"),
            ("RATE_LIMIT", "0"),
            ("METRICS_PORT", "8000"),
        ] {
            let message = format!("{:#}", read(&[(name, value)]).unwrap_err());
            assert!(message.contains(name) && !message.contains('\n'), "{message}");
        }
    }

    #[test]
    fn a_host_may_be_in_brackets() {
        for (given, host) in [("[::]", "::"), (" [::1] ", "::1"), ("::", "::"), ("[x", "[x")] {
            assert_eq!(read(&[("HOST", given)]).unwrap().host, host);
        }
    }

    #[cfg(unix)]
    #[test]
    fn variables_that_are_not_utf8() {
        use std::os::unix::ffi::OsStringExt;
        let of = |name: &[u8], value: &[u8]| {
            let pair = (OsString::from_vec(name.to_vec()), OsString::from_vec(value.to_vec()));
            Config::from_environment_of([pair].into_iter())
        };
        assert!(of(b"LS_COLORS", b"\xff").is_ok() && of(b"\xff", b"1").is_ok());
        let path = of(b"MODEL_PATH", b"/m\xf6del").unwrap().model_path.unwrap();
        assert_eq!(path.into_os_string().into_vec(), b"/m\xf6del");
        for name in ["PORT", "HOST", "host", "RUST_LOG", "KEEP_ALIVE_SECONDS", "THREADS"] {
            let message = of(name.as_bytes(), b"8\xff").unwrap_err().to_string();
            assert!(message.starts_with(name) && message.contains("not UTF-8"), "{message}");
        }
    }
}
