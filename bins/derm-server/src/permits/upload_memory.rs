//! Upload memory: granted as bytes arrive, so that an announced length alone occupies nothing.
//!
//! All uploads share a pool. Where it is exhausted, one upload at a time goes on out of a reserve of
//! the largest upload's size: without it, uploads that each hold a part of the pool would wait for
//! each other for ever. One client holds its share of the pool at most, and one of its uploads stands
//! in the queue for the reserve.

use super::{BLOCK, blocks};
use crate::clients::Client;
use std::sync::Arc;
use tokio::sync::{AcquireError, Mutex, OwnedMutexGuard, OwnedSemaphorePermit, Semaphore};

/// The pool is at least this large, so that small uploads do not queue for the reserve.
const LEAST_POOL: usize = 512 * 1024;

/// The memory that all uploads may hold.
#[derive(Debug)]
pub(super) struct UploadMemory {
    pool: Arc<Semaphore>,
    /// Blocks of the pool in all.
    all: usize,
    reserve: Arc<Mutex<()>>,
    /// Bytes of the reserve.
    largest: usize,
}

/// The memory that one upload holds; given back when dropped.
#[derive(Debug)]
pub(crate) struct UploadPermit {
    client: Arc<Client>,
    pool: Option<Blocks>,
    /// Enough for the rest of any upload.
    reserve: Option<Reserve>,
}

/// Blocks of the pool, and as many of the client's share.
#[derive(Debug)]
struct Blocks {
    pool: OwnedSemaphorePermit,
    share: OwnedSemaphorePermit,
}

#[derive(Debug)]
struct Reserve {
    _reserve: OwnedMutexGuard<()>,
    _turn: OwnedMutexGuard<()>,
}

impl UploadPermit {
    /// For an upload of this client; holds nothing yet.
    pub(crate) fn new(client: Arc<Client>) -> UploadPermit {
        UploadPermit { client, pool: None, reserve: None }
    }

    /// The client that sends the upload.
    pub(super) fn client_handle(&self) -> Arc<Client> {
        Arc::clone(&self.client)
    }

    /// Blocks that it lacks to hold so many bytes.
    fn missing(&self, bytes: usize) -> u32 {
        if self.reserve.is_some() {
            return 0;
        }
        let held = self.pool.as_ref().map_or(0, |held| held.pool.num_permits());
        blocks(bytes).saturating_sub(u32::try_from(held).unwrap_or(u32::MAX))
    }

    fn add(&mut self, more: Blocks) {
        match &mut self.pool {
            Some(held) => {
                held.pool.merge(more.pool);
                held.share.merge(more.share);
            }
            None => self.pool = Some(more),
        }
    }
}

impl UploadMemory {
    /// About `bytes` in all, for uploads of at most `largest` bytes each.
    pub(super) fn new(bytes: usize, largest: usize) -> UploadMemory {
        let pool = bytes.saturating_sub(largest).max(LEAST_POOL);
        let all = pool.div_ceil(BLOCK).min(Semaphore::MAX_PERMITS / 2);
        UploadMemory { pool: Arc::new(Semaphore::new(all)), all, reserve: Arc::default(), largest }
    }

    /// Bytes of the pool and the reserve.
    pub(super) fn total(&self) -> usize {
        self.all * BLOCK + self.largest
    }

    /// Bytes that uploads hold now, the reserve as a whole.
    pub(super) fn held(&self) -> usize {
        let reserve = if self.reserve.try_lock().is_err() { self.largest } else { 0 };
        (self.all - self.pool.available_permits()) * BLOCK + reserve
    }

    /// Lets an upload hold so many bytes, if that is possible at once.
    pub(super) fn try_grow(&self, upload: &mut UploadPermit, bytes: usize) -> bool {
        let missing = upload.missing(bytes.min(self.largest));
        if missing == 0 {
            return true;
        }
        let take = |from: &Arc<Semaphore>| Arc::clone(from).try_acquire_many_owned(missing).ok();
        let more = take(&upload.client.uploads).zip(take(&self.pool));
        more.map(|(share, pool)| upload.add(Blocks { pool, share })).is_some()
    }

    /// Lets an upload hold so many bytes; waits for the pool or the reserve, whichever is first.
    ///
    /// # Errors
    /// None, since the pool is never closed.
    pub(super) async fn grow(
        &self,
        upload: &mut UploadPermit,
        bytes: usize,
    ) -> Result<(), AcquireError> {
        let missing = upload.missing(bytes.min(self.largest));
        let client = Arc::clone(&upload.client);
        let from_pool = async {
            let share = Arc::clone(&client.uploads).acquire_many_owned(missing).await?;
            let pool = Arc::clone(&self.pool).acquire_many_owned(missing).await?;
            Ok::<_, AcquireError>(Blocks { pool, share })
        };
        let from_reserve = async {
            let turn = Arc::clone(&client.turn).lock_owned().await;
            Reserve { _reserve: Arc::clone(&self.reserve).lock_owned().await, _turn: turn }
        };
        tokio::select! {
            more = from_pool => upload.add(more?),
            reserve = from_reserve => upload.reserve = Some(reserve),
        }
        Ok(())
    }

    /// Blocks of the pool in all.
    pub(super) fn pool_blocks(&self) -> usize {
        self.all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clients::{Clients, share};
    use futures_util::FutureExt;

    const MIB: usize = 1 << 20;

    /// Uploads of as many clients.
    fn uploads<const N: usize>(memory: &UploadMemory) -> [UploadPermit; N] {
        std::array::from_fn(|low| upload(memory, low as u8))
    }

    /// An upload of a client of its own.
    fn upload(memory: &UploadMemory, client: u8) -> UploadPermit {
        let address = std::net::IpAddr::from([10, 0, 0, client]);
        UploadPermit::new(Clients::new(memory.pool_blocks(), 10).get(address.into()))
    }

    #[actix_web::test]
    async fn memory_grows_with_the_bytes_and_comes_back() {
        let memory = UploadMemory::new(4 * MIB, MIB);
        let [mut first, mut second] = uploads(&memory);
        assert!(memory.try_grow(&mut first, 10) && memory.try_grow(&mut second, 5000));
        assert_eq!(memory.held(), 6 * BLOCK);
        assert!(memory.try_grow(&mut first, 20), "within its block");
        assert_eq!(memory.held(), 6 * BLOCK);
        // A body in base64 is larger than the upload that it holds.
        assert!(memory.try_grow(&mut first, 5 * MIB));
        assert_eq!(memory.held(), MIB + 5 * BLOCK);
        drop((first, second));
        assert_eq!(memory.held(), 0);
    }

    #[actix_web::test]
    async fn uploads_that_fill_the_pool_end_one_by_one() {
        let memory = UploadMemory::new(3 * MIB, MIB);
        let mut halves = Vec::from(uploads::<4>(&memory));
        for half in &mut halves {
            assert!(memory.try_grow(half, MIB / 2), "four halves fill the pool");
        }
        let [first, second, ..] = &mut halves[..] else { panic!("four") };
        assert!(!memory.try_grow(first, MIB));
        assert!(memory.grow(first, MIB).now_or_never().is_some(), "out of the reserve");
        assert!(memory.grow(second, MIB).now_or_never().is_none(), "which is taken");
        assert!(memory.try_grow(first, MIB), "it is enough for the rest");
        drop(halves.remove(0));
        assert!(memory.grow(&mut halves[0], MIB).now_or_never().is_some());
    }

    #[actix_web::test]
    async fn one_client_holds_its_share_only() {
        let memory = UploadMemory::new(5 * MIB, MIB);
        let client =
            Clients::new(memory.pool_blocks(), 10).get(std::net::IpAddr::from([1; 4]).into());
        let mut own: Vec<UploadPermit> =
            (0..3).map(|_| UploadPermit::new(Arc::clone(&client))).collect();
        assert_eq!(share(memory.pool_blocks()) * BLOCK, 3 * MIB);
        for upload in &mut own {
            assert!(memory.try_grow(upload, MIB));
        }
        let mut further = [(); 2].map(|()| UploadPermit::new(Arc::clone(&client)));
        assert!(!memory.try_grow(&mut further[0], MIB));
        assert!(memory.grow(&mut further[0], MIB).now_or_never().is_some(), "out of the reserve");
        assert!(memory.grow(&mut further[1], MIB).now_or_never().is_none());
        let mut other = upload(&memory, 2);
        assert!(memory.try_grow(&mut other, MIB), "the rest of the pool is for others");
        drop(own);
        assert!(memory.try_grow(&mut further[1], MIB), "its share comes back");
    }
}
