//! Pressure stall information (PSI): the share of time in which tasks waited for memory.
//! Format: <https://docs.kernel.org/accounting/psi.html>.

use crate::cgroup::{LimitSource, memory_cgroup};
use serde::Serialize;
use std::fs;
use std::path::Path;

/// Share of the last 10 seconds, in percent, that tasks stalled on memory.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Pressure {
    /// At least one task stalled.
    pub some_avg10: f32,
    /// All tasks stalled at once.
    pub full_avg10: f32,
}

/// Memory pressure of the process's own cgroup (v2), else of the machine; `None` where the kernel does
/// not report it.
pub fn pressure() -> Option<Pressure> {
    let own = fs::read_to_string("/proc/self/cgroup")
        .ok()
        .and_then(|cgroups| memory_cgroup(&cgroups, Path::new("/sys/fs/cgroup")))
        .filter(|(_, source)| *source == LimitSource::CgroupV2)
        .and_then(|(folder, _)| fs::read_to_string(folder.join("memory.pressure")).ok());
    parse(&own.or_else(|| fs::read_to_string("/proc/pressure/memory").ok())?)
}

fn parse(text: &str) -> Option<Pressure> {
    let avg10 = |kind: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(kind))?;
        line.split_whitespace().find_map(|field| field.strip_prefix("avg10="))?.parse().ok()
    };
    Some(Pressure { some_avg10: avg10("some")?, full_avg10: avg10("full")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_lines_are_read() {
        let text = "some avg10=1.25 avg60=0.10 avg300=0.00 total=7\n\
                    full avg10=0.50 avg60=0.00 avg300=0.00 total=3\n";
        assert_eq!(parse(text), Some(Pressure { some_avg10: 1.25, full_avg10: 0.5 }));
        assert_eq!(parse("nonsense"), None);
    }
}
