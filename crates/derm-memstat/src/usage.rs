//! Memory usage of a process: resident set size (RSS), its peak, and virtual size.

use serde::Serialize;

/// Memory of one process, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Usage {
    /// Resident set size, file pages included (`VmRSS`).
    pub rss: u64,
    /// Largest `rss` since the process began (`VmHWM`); equal to `rss` where the system does not report it.
    pub peak: u64,
    /// Address space (`VmSize`).
    pub virtual_size: u64,
}

/// The memory of this process; `None` where the system does not say: without `/proc`, for one.
pub fn usage() -> Option<Usage> {
    usage_of(std::process::id())
}

/// The memory of process `pid`, or `None` when there is no such process.
pub fn usage_of(pid: u32) -> Option<Usage> {
    match std::fs::read_to_string(format!("/proc/{pid}/status")) {
        Ok(status) => parse_status(&status),
        Err(_) => from_sysinfo(pid),
    }
}

/// Reads the `Vm*` lines of `/proc/<pid>/status` (proc(5); values are KiB).
fn parse_status(status: &str) -> Option<Usage> {
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        let kib: u64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
        Some(kib * 1024)
    };
    let rss = field("VmRSS:")?;
    Some(Usage { rss, peak: field("VmHWM:").unwrap_or(rss), virtual_size: field("VmSize:")? })
}

/// For systems without `/proc`: sysinfo reports everything but the peak.
fn from_sysinfo(pid: u32) -> Option<Usage> {
    use sysinfo::{Pid, ProcessRefreshKind, ProcessesToUpdate, System};
    let pid = Pid::from_u32(pid);
    let mut system = System::new().ok()?;
    system.refresh_processes_specifics(
        ProcessesToUpdate::Some(&[pid]),
        true,
        ProcessRefreshKind::nothing().with_memory(),
    );
    let process = system.process(pid)?;
    let rss = process.memory();
    Some(Usage { rss, peak: rss, virtual_size: process.virtual_memory() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_lines_are_read_in_bytes() {
        let status = "Name:\tx\nVmSize:\t   2048 kB\nVmHWM:\t 900 kB\nVmRSS:\t  800 kB\n";
        let usage = parse_status(status).unwrap();
        assert_eq!(usage, Usage { rss: 800 << 10, peak: 900 << 10, virtual_size: 2 << 20 });
        assert_eq!(parse_status("Name:\tkthread\n"), None);
    }

    #[test]
    fn an_allocation_that_is_written_shows_in_rss() {
        let before = usage().unwrap();
        let block = std::hint::black_box(vec![1u8; 32 << 20]);
        let after = usage().unwrap();
        assert!(after.rss >= before.rss + (24 << 20), "{before:?} {after:?}");
        assert!(after.peak >= after.rss - (1 << 20));
        drop(block);
    }

    #[test]
    fn sysinfo_agrees_with_proc() {
        let pid = std::process::id();
        let (proc, sysinfo) = (usage_of(pid).unwrap(), from_sysinfo(pid).unwrap());
        assert!(proc.rss.abs_diff(sysinfo.rss) < (8 << 20), "{proc:?} {sysinfo:?}");
    }

    #[test]
    fn no_such_process_is_none() {
        assert_eq!(usage_of(u32::MAX - 1), None);
    }
}
