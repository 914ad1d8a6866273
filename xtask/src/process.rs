//! What a process holds, as `/proc` shows it (Linux; `proc(5)`).

use anyhow::Context;
use std::fs::{read_dir, read_to_string};

/// Descriptors, sockets among them, and threads of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Holdings {
    descriptors: usize,
    sockets: usize,
    threads: usize,
}

impl Holdings {
    pub(crate) fn of(process: u32) -> anyhow::Result<Holdings> {
        let folder = format!("/proc/{process}");
        let descriptors = read_dir(format!("{folder}/fd")).context("the process is gone")?;
        let mut found = Holdings { descriptors: 0, sockets: 0, threads: 0 };
        for entry in descriptors {
            // One may be closed meanwhile.
            let Ok(target) = std::fs::read_link(entry?.path()) else { continue };
            found.descriptors += 1;
            found.sockets += usize::from(target.to_string_lossy().starts_with("socket:"));
        }
        found.threads = read_dir(format!("{folder}/task"))?.count();
        Ok(found)
    }
}

impl std::fmt::Display for Holdings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Holdings { descriptors, sockets, threads } = self;
        write!(f, "{descriptors} descriptors ({sockets} sockets), {threads} threads")
    }
}

/// Anonymous resident memory of a process, KiB: heap and stacks, without pages of files (`RssAnon`).
pub(crate) fn anonymous(process: u32) -> anyhow::Result<f64> {
    let status =
        read_to_string(format!("/proc/{process}/status")).context("the process is gone")?;
    let value = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    let value = value.and_then(|value| value.trim().strip_suffix(" kB"));
    Ok(value.context("/proc/PID/status has no RssAnon")?.parse()?)
}

/// Seconds of a core that the calling thread has used.
pub(crate) fn thread_seconds() -> anyhow::Result<f64> {
    on_core("/proc/thread-self/schedstat")
}

/// Seconds of a core that the threads of a process have used, of those that still run.
pub(crate) fn seconds(process: u32) -> anyhow::Result<f64> {
    let mut sum = 0.0;
    for entry in read_dir(format!("/proc/{process}/task")).context("the process is gone")? {
        sum += on_core(&entry?.path().join("schedstat").display().to_string())?;
    }
    Ok(sum)
}

fn on_core(file: &str) -> anyhow::Result<f64> {
    let text = read_to_string(file).with_context(|| file.to_owned())?;
    let nanoseconds = text.split(' ').next().with_context(|| file.to_owned())?;
    Ok(nanoseconds.parse::<f64>()? / 1e9)
}
