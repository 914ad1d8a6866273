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

/// Memory of a process and of those that it has started, bytes: pages that several share count once (`Pss`).
pub(crate) fn proportional(process: u32) -> anyhow::Result<u64> {
    let folder = format!("/proc/{process}");
    let rollup = read_to_string(format!("{folder}/smaps_rollup")).context("the process is gone")?;
    let value = rollup.lines().find_map(|line| line.strip_prefix("Pss:"));
    let value = value.and_then(|value| value.trim().strip_suffix(" kB"));
    let mut sum = 1024 * value.context("smaps_rollup has no Pss")?.parse::<u64>()?;
    for task in read_dir(format!("{folder}/task"))? {
        let children = read_to_string(task?.path().join("children")).unwrap_or_default();
        for child in children.split_whitespace() {
            // One may have ended meanwhile.
            sum += proportional(child.parse()?).unwrap_or_default();
        }
    }
    Ok(sum)
}

/// Ticks a second of the times in `/proc` (`USER_HZ`, `time(7)`).
const TICKS: f64 = 100.0;

/// Seconds of a core that ended children of this process and their children have used (`cutime`, `cstime`).
pub(crate) fn children_seconds() -> anyhow::Result<f64> {
    let stat = read_to_string("/proc/self/stat")?;
    // The second field, the name in parentheses, may have spaces in it; the third is the state.
    let (_, fields) = stat.rsplit_once(')').context("/proc/self/stat has no name")?;
    let fields: Vec<&str> = fields.split_whitespace().collect();
    let times = fields.get(13..15).context("/proc/self/stat is too short")?;
    let mut ticks = 0.0;
    for time in times {
        ticks += time.parse::<f64>()?;
    }
    Ok(ticks / TICKS)
}
