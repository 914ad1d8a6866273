//! A cgroup, for limits that the kernel enforces (cgroups(7)).

use anyhow::{Context, bail, ensure};
use std::path::{Path, PathBuf};

/// A cgroup with limits; removed when dropped.
pub(crate) struct Cgroup {
    /// One folder per controller in v1, a single one in v2.
    folders: Vec<PathBuf>,
    version: Version,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    V1,
    V2,
}

/// Limits of a cgroup.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Limits {
    /// Memory, bytes.
    pub(crate) memory: Option<u64>,
    /// CPU time, as a share of one core.
    pub(crate) cpu: Option<f64>,
}

/// Counters of a cgroup.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Counted {
    /// Peak memory, bytes, page cache and kernel memory included.
    pub(crate) peak: u64,
    /// Processes that the out-of-memory killer ended.
    pub(crate) kills: u64,
}

const ROOT: &str = "/sys/fs/cgroup";

impl Cgroup {
    /// Creates a cgroup with these limits.
    pub(crate) fn new(limits: Limits) -> anyhow::Result<Cgroup> {
        let name = format!("derm-memtest-{}", std::process::id());
        let v2 = Path::new(ROOT).join("cgroup.controllers").exists();
        let version = if v2 { Version::V2 } else { Version::V1 };
        let folders = match version {
            Version::V2 => vec![Path::new(ROOT).join(&name)],
            Version::V1 => {
                ["memory", "cpu"].iter().map(|c| Path::new(ROOT).join(c).join(&name)).collect()
            }
        };
        let group = Cgroup { folders, version };
        for folder in &group.folders {
            std::fs::create_dir_all(folder)
                .with_context(|| format!("cannot make {}", folder.display()))?;
        }
        if version == Version::V2 {
            // Controllers must be enabled for the children of the root.
            let _ = std::fs::write(Path::new(ROOT).join("cgroup.subtree_control"), "+memory +cpu");
        }
        if let Some(bytes) = limits.memory {
            match version {
                Version::V2 => {
                    group.write(0, "memory.max", &bytes.to_string())?;
                    let _ = group.write(0, "memory.swap.max", "0");
                }
                Version::V1 => group.write(0, "memory.limit_in_bytes", &bytes.to_string())?,
            }
        }
        if let Some(share) = limits.cpu {
            const PERIOD: u64 = 100_000;
            let quota = (share * PERIOD as f64).round() as u64;
            match version {
                Version::V2 => group.write(0, "cpu.max", &format!("{quota} {PERIOD}"))?,
                Version::V1 => {
                    group.write(1, "cpu.cfs_period_us", &PERIOD.to_string())?;
                    group.write(1, "cpu.cfs_quota_us", &quota.to_string())?;
                }
            }
        }
        Ok(group)
    }

    /// The files to which a process writes its id to join.
    pub(crate) fn procs_files(&self) -> Vec<PathBuf> {
        self.folders.iter().map(|folder| folder.join("cgroup.procs")).collect()
    }

    /// The counters now.
    pub(crate) fn counted(&self) -> anyhow::Result<Counted> {
        let (peak, events) = match self.version {
            Version::V2 => ("memory.peak", "memory.events"),
            Version::V1 => ("memory.max_usage_in_bytes", "memory.oom_control"),
        };
        let read = |name: &str| {
            let path = self.folders[0].join(name);
            std::fs::read_to_string(&path).with_context(|| path.display().to_string())
        };
        let events = read(events)?;
        let kills = events.lines().find_map(|line| line.strip_prefix("oom_kill "));
        let Some(kills) = kills else { bail!("the kernel does not count its kills") };
        Ok(Counted { peak: read(peak)?.trim().parse()?, kills: kills.trim().parse()? })
    }

    fn write(&self, folder: usize, name: &str, value: &str) -> anyhow::Result<()> {
        let path = self.folders[folder].join(name);
        std::fs::write(&path, value).with_context(|| path.display().to_string())?;
        ensure!(path.exists(), "{} is gone", path.display());
        Ok(())
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // The kernel refuses while the last process is exiting.
        for _ in 0..50 {
            if self
                .folders
                .iter()
                .all(|folder| std::fs::remove_dir(folder).is_ok() || !folder.exists())
            {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }
}
