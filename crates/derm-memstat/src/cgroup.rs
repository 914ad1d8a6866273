//! Memory limit: that of the process's cgroup (v2 or v1), else the machine's physical memory.

use serde::Serialize;
use std::fs;
use std::path::{Path, PathBuf};

/// The memory that this process may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Limit {
    /// In bytes.
    pub bytes: u64,
    /// What sets it.
    pub source: LimitSource,
}

/// Where a [`Limit`] comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LimitSource {
    /// `memory.max` of a cgroup v2.
    CgroupV2,
    /// `memory.limit_in_bytes` of a cgroup v1.
    CgroupV1,
    /// No cgroup limits the process: the machine's physical memory.
    Physical,
}

/// The memory limit of this process: the smallest along its cgroup's path, or the machine's memory
/// where that is smaller or no cgroup sets a limit. `None` where the system says neither: without
/// `/proc`, for one.
pub fn limit() -> Option<Limit> {
    let physical = physical_memory().map(|bytes| Limit { bytes, source: LimitSource::Physical });
    let cgroup = cgroup_limit(Path::new("/proc/self/cgroup"), Path::new("/sys/fs/cgroup"));
    [cgroup, physical].into_iter().flatten().min_by_key(|limit| limit.bytes)
}

/// The folder of this process's memory cgroup, and its version. `cgroups` is the content
/// of `/proc/self/cgroup` (cgroups(7)): `0::/path` is v2, `N:...,memory,...:/path` is v1.
pub(crate) fn memory_cgroup(cgroups: &str, root: &Path) -> Option<(PathBuf, LimitSource)> {
    let fields = |line: &str| {
        let mut parts = line.splitn(3, ':');
        let (_id, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
        Some((controllers.to_owned(), path.trim_start_matches('/').to_owned()))
    };
    let lines: Vec<_> = cgroups.lines().filter_map(fields).collect();
    let v1 = lines.iter().find(|(controllers, _)| controllers.split(',').any(|c| c == "memory"));
    if let Some((_, path)) = v1 {
        return Some((inside(&root.join("memory"), path), LimitSource::CgroupV1));
    }
    let (_, path) = lines.iter().find(|(controllers, _)| controllers.is_empty())?;
    Some((inside(root, path), LimitSource::CgroupV2))
}

/// `root/path`, or `root` itself: inside a container the namespace hides the host's path.
fn inside(root: &Path, path: &str) -> PathBuf {
    let full = root.join(path);
    if full.is_dir() { full } else { root.to_owned() }
}

fn cgroup_limit(proc_cgroup: &Path, root: &Path) -> Option<Limit> {
    let (folder, source) = memory_cgroup(&fs::read_to_string(proc_cgroup).ok()?, root)?;
    let file = match source {
        LimitSource::CgroupV1 => "memory.limit_in_bytes",
        _ => "memory.max",
    };
    let bytes = folder
        .ancestors()
        .take_while(|folder| folder.starts_with(root))
        // "max" in v2, a huge number in v1: neither is a limit.
        .filter_map(|folder| fs::read_to_string(folder.join(file)).ok()?.trim().parse().ok())
        .min()?;
    Some(Limit { bytes, source })
}

fn physical_memory() -> Option<u64> {
    use sysinfo::{MemoryRefreshKind, RefreshKind, System};
    let memory = RefreshKind::nothing().with_memory(MemoryRefreshKind::nothing().with_ram());
    let total = System::new_with_specifics(memory).ok()?.total_memory();
    Some(total).filter(|&bytes| bytes > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The limit of a process with this `/proc/self/cgroup`, where `/sys/fs/cgroup` holds `files`: (path, content).
    fn limit_in(cgroups: &str, files: &[(&str, &str)]) -> Option<Limit> {
        let root = tempfile::tempdir().unwrap();
        let (proc, sys) = (root.path().join("cgroup"), root.path().join("sys"));
        fs::create_dir(&sys).unwrap();
        for (path, content) in files {
            let path = sys.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        fs::write(&proc, cgroups).unwrap();
        cgroup_limit(&proc, &sys)
    }

    #[test]
    fn v2_takes_the_smallest_limit_on_the_path() {
        let files = [("a/memory.max", "100\n"), ("a/b/memory.max", "max\n")];
        let limit = limit_in("0::/a/b\n", &files);
        assert_eq!(limit, Some(Limit { bytes: 100, source: LimitSource::CgroupV2 }));
    }

    #[test]
    fn v2_inside_a_container_sees_its_own_root() {
        let limit = limit_in("0::/../host/path\n", &[("memory.max", "536870912\n")]);
        assert_eq!(limit.unwrap().bytes, 512 << 20);
    }

    #[test]
    fn v1_memory_controller_wins_over_an_empty_v2_line() {
        let files = [
            ("memory/memory.limit_in_bytes", "9223372036854771712\n"),
            ("memory/x/memory.limit_in_bytes", "4096\n"),
        ];
        let limit = limit_in("5:cpu,memory:/x\n0::/\n", &files);
        assert_eq!(limit, Some(Limit { bytes: 4096, source: LimitSource::CgroupV1 }));
    }

    #[test]
    fn no_cgroup_is_no_limit() {
        assert_eq!(limit_in("", &[]), None);
        assert!(limit().unwrap().bytes > 0);
    }
}
