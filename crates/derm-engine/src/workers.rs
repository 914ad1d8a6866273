//! Threads inside one inference.

use std::ops::Range;
use std::sync::Arc;

/// The caller's thread, or a pool of threads that several engines may share.
#[derive(Debug, Clone)]
pub struct Workers(Option<Arc<rayon::ThreadPool>>);

/// A pointer that several workers write through, each in places of its own.
pub(crate) struct Shared(pub(crate) *mut f32);

// SAFETY: whoever hands it out answers for the places being apart.
unsafe impl Sync for Shared {}

impl Shared {
    pub(crate) fn get(&self) -> *mut f32 {
        self.0
    }
}

impl Workers {
    /// No thread but the caller's.
    pub const ONE: Workers = Workers(None);

    /// A pool of `count` threads; none for one, or where threads cannot be made.
    pub fn new(count: usize) -> Workers {
        if count <= 1 {
            return Workers::ONE;
        }
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(count)
            .thread_name(|number| format!("inference-{number}"))
            .build();
        Workers(pool.ok().map(Arc::new))
    }

    pub(crate) fn count(&self) -> usize {
        self.0.as_ref().map_or(1, |pool| pool.current_num_threads())
    }

    /// Cuts `0..units` into one part for each worker; each gets a piece of `extra` of its own.
    pub(crate) fn share<'a>(
        &self,
        units: usize,
        mut extra: impl Iterator<Item = &'a mut [f32]>,
        work: impl Fn(Range<usize>, &mut [f32]) + Sync,
    ) {
        let Some(pool) = &self.0 else {
            work(0..units, extra.next().unwrap_or_default());
            return;
        };
        let count = self.count().min(units);
        let extra: Vec<_> = extra.take(count).collect();
        pool.scope(|scope| {
            for (number, extra) in extra.into_iter().enumerate() {
                let part = units * number / count..units * (number + 1) / count;
                let work = &work;
                scope.spawn(move |_| work(part, extra));
            }
        });
    }

    /// Calls `work` on each piece.
    pub(crate) fn share_each(
        &self,
        pieces: Vec<&mut [f32]>,
        work: impl Fn(usize, &mut [f32]) + Sync,
    ) {
        let pieces = pieces.into_iter().enumerate();
        let Some(pool) = &self.0 else {
            pieces.for_each(|(number, piece)| work(number, piece));
            return;
        };
        pool.scope(|scope| {
            for (number, piece) in pieces {
                let work = &work;
                scope.spawn(move |_| work(number, piece));
            }
        });
    }
}
