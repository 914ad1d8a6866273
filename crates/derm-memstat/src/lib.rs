#![doc = include_str!("../README.md")]

mod allocator;
mod cgroup;
mod file_pages;
mod pressure;
mod usage;

pub use allocator::{release_freed, restart_with_small_cache, tune_allocator};
pub use cgroup::{Limit, LimitSource, limit};
pub use file_pages::release_file_pages;
pub use pressure::{Pressure, pressure};
pub use usage::{Usage, usage, usage_of};

/// Bytes in a MiB, the unit of figures for people.
pub const MIB: f64 = 1024.0 * 1024.0;
