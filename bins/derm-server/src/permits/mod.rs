//! Admission: which requests run, which wait, and which are refused.
//!
//! Three resources are granted, each in the order of asking: memory for an upload, the right to run
//! an inference, and the memory that it takes. A body is read only as far as its bytes have been
//! granted; the rest stays with the client. A request that waits for an inference or for memory holds
//! its compressed bytes only. Waiting is bounded in time and in number, and each client has its share of
//! the places. A request that would have to wait for more than half of its time is refused at once: one
//! that waits will be answered in time.

mod pace;
mod upload_memory;
mod weights;

use crate::clients::{Client, ClientAddress, Clients};
use crate::connections::CONNECTION_BYTES;
use crate::error::ApiError;
use pace::Pace;
use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::PoisonError;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use tokio::sync::{Mutex, OwnedMutexGuard, OwnedRwLockReadGuard, OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};
use upload_memory::UploadMemory;
pub(crate) use upload_memory::UploadPermit;
pub(crate) use weights::WeightsMemory;

/// Why a request that waited is refused.
pub(crate) const LATE: &str = "the server was busy for too long";
/// Memory is counted in blocks, so that a semaphore's count suffices.
const BLOCK: usize = 1024;
/// Largest uploads that may be held at once, where the budget has room for them.
const LARGEST_UPLOADS: usize = 4;
/// Inferences that are granted for each one that runs: it and the next, so that no thread has to
/// wait for the event loop.
const GRANTED: usize = 2;
/// Requests that may wait at once, however small.
const MAX_WAITING: usize = 512;
/// Bytes for what is not accounted for: stacks, fragmentation of the heap.
const OVERHEAD: usize = 3 << 20;

/// The resources that requests wait for.
#[derive(Debug)]
pub(crate) struct Permits {
    inferences: Arc<Semaphore>,
    /// Inferences that may be granted at once.
    all_inferences: usize,
    uploads: UploadMemory,
    memory: Arc<Semaphore>,
    first: Arc<Mutex<()>>,
    /// Blocks of memory in all.
    all_memory: AtomicUsize,
    waiting: AtomicUsize,
    /// How many may wait.
    max_waiting: usize,
    /// Of these, those that wait for an inference, and those that wait for its memory.
    waiting_for_inference: AtomicUsize,
    waiting_for_memory: AtomicUsize,
    pace: std::sync::Mutex<Pace>,
    clients: Clients,
    /// Inferences that were ever granted.
    granted: AtomicUsize,
    /// Most blocks of memory that were ever reserved at once.
    high_water: AtomicUsize,
}

/// The right to run one inference when a thread is free, and the memory for it; given back when
/// dropped.
#[derive(Debug)]
pub(crate) struct InferencePermit {
    memory: OwnedSemaphorePermit,
    _inference: OwnedSemaphorePermit,
    /// Held by the one inference that may take memory for weights.
    first: Option<OwnedMutexGuard<()>>,
    /// Keeps the weights that it reads from being given up.
    _residence: Option<Residence>,
}

/// Keeps a model's weights in the memory that was taken for them.
pub(crate) type Residence = OwnedRwLockReadGuard<()>;

/// What an inference needs before it is granted.
pub(crate) trait Needs {
    /// Waits until the model's weights are not about to be given up, and keeps them from being so.
    async fn reside(&self) -> Option<Residence>;

    /// The memory that it takes, as far as is known now.
    fn demand(&self) -> Demand;

    /// Bytes of other models' weights that can be given up for it.
    fn obtainable(&self) -> usize {
        0
    }

    /// Makes room for the model, if it is to be loaded, or else for the demand. Called by one at a time.
    ///
    /// # Errors
    /// The model does not fit, or there was no room in time.
    async fn make_room(&self) -> Result<(), ApiError>;
}

/// An inference of the one model that there is.
impl<F: Fn() -> Demand> Needs for F {
    async fn reside(&self) -> Option<Residence> {
        None
    }

    fn demand(&self) -> Demand {
        self()
    }

    async fn make_room(&self) -> Result<(), ApiError> {
        Ok(())
    }
}

/// The memory of an answer that the client has not taken yet; given back when dropped.
#[derive(Debug)]
pub(crate) struct AnswerPermit {
    _memory: Option<OwnedSemaphorePermit>,
}

impl InferencePermit {
    /// Gives back all but the memory of the answer; less of it where the inference had less.
    pub(crate) fn into_answer(mut self, bytes: usize) -> AnswerPermit {
        let count = (blocks(bytes) as usize).min(self.memory.num_permits());
        AnswerPermit { _memory: self.memory.split(count) }
    }
}

/// The memory that one inference takes.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Demand {
    /// This many bytes.
    Bytes(usize),
    /// Not known, since the model was never loaded or a plan never built: it gets all there is.
    Unknown,
    /// This many bytes to load a model, or all there is.
    Load(usize),
    /// All there is.
    All,
}

/// Bytes of the budget, as `/memory/` shows them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reserved {
    /// For inferences, at most.
    pub(crate) available: usize,
    /// For inferences, now.
    pub(crate) inferences: usize,
    /// For inferences, ever.
    pub(crate) high_water: usize,
    /// For uploads, now.
    pub(crate) uploads: usize,
}

impl Permits {
    /// For `inferences` at once, bodies of up to `largest_upload` bytes, so many `connections`, and a
    /// budget of `budget` bytes for the whole process, which uses `used` of them already.
    pub(crate) fn new(
        inferences: usize,
        largest_upload: usize,
        connections: usize,
        budget: usize,
        used: usize,
    ) -> Permits {
        let free = budget.saturating_sub(used + OVERHEAD + connections * CONNECTION_BYTES);
        let uploads = (LARGEST_UPLOADS * largest_upload).min(free / 4).max(largest_upload);
        let uploads = UploadMemory::new(uploads, largest_upload);
        let memory = (free.saturating_sub(uploads.total()) / BLOCK).clamp(1, u32::MAX as usize);
        let all_inferences = GRANTED * inferences;
        // Those that wait keep their connections; some are left for others.
        let max_waiting = MAX_WAITING.min(connections / 4 * 3).max(1);
        Permits {
            clients: Clients::new(uploads.pool_blocks(), max_waiting),
            inferences: Arc::new(Semaphore::new(all_inferences)),
            all_inferences,
            uploads,
            memory: Arc::new(Semaphore::new(memory)),
            first: Arc::default(),
            all_memory: AtomicUsize::new(memory),
            waiting: AtomicUsize::new(0),
            max_waiting,
            waiting_for_inference: AtomicUsize::new(0),
            waiting_for_memory: AtomicUsize::new(0),
            pace: std::sync::Mutex::new(Pace::new()),
            granted: AtomicUsize::new(0),
            high_water: AtomicUsize::new(0),
        }
    }

    /// Lets an upload hold `bytes` in all; waits where there is no memory for what it lacks.
    pub(crate) async fn grow(
        &self,
        upload: &mut UploadPermit,
        bytes: usize,
        deadline: Instant,
    ) -> Result<(), ApiError> {
        if self.uploads.try_grow(upload, bytes) {
            return Ok(());
        }
        self.check_time(self.waiting(), deadline)?;
        let client = upload.client_handle();
        self.wait(&client, self.uploads.grow(upload, bytes), deadline).await
    }

    /// The client of this address.
    pub(crate) fn client(&self, address: ClientAddress) -> Arc<Client> {
        self.clients.get(address)
    }

    /// Waits for the right to run one inference, and then for the memory it needs. That is
    /// [`Demand::Unknown`] or [`Demand::Load`] as long as the weights are not
    /// [kept](WeightsMemory::is_kept): what the budget leaves beside them is not known before.
    pub(crate) async fn inference(
        &self,
        client: &Client,
        needs: impl Needs,
        deadline: Instant,
    ) -> Result<InferencePermit, ApiError> {
        if self.inferences.available_permits() == 0 {
            self.check_time(self.waiting_for_inference.load(Relaxed), deadline)?;
        }
        self.wait_inference(client, needs, deadline).await
    }

    /// As [`Permits::inference`], for the server's own work: it waits however many wait before it.
    pub(crate) async fn own_inference(
        &self,
        needs: impl Needs,
        deadline: Instant,
    ) -> Result<InferencePermit, ApiError> {
        let client = self.client(IpAddr::from(Ipv4Addr::LOCALHOST).into());
        self.wait_inference(&client, needs, deadline).await
    }

    async fn wait_inference(
        &self,
        client: &Client,
        needs: impl Needs,
        deadline: Instant,
    ) -> Result<InferencePermit, ApiError> {
        let permit = Arc::clone(&self.inferences).acquire_owned();
        let in_queue = Counted::new(&self.waiting_for_inference);
        let inference = self.wait(client, permit, deadline).await?;
        drop(in_queue);
        self.pace().granted(Instant::now(), self.waiting_for_inference.load(Relaxed) > 0);
        let mut residence = self.wait_to_reside(client, &needs, deadline).await?;
        let mut first = None;
        if self.needs_room(&needs) {
            // Who has the turn may be waiting for this model to be given up.
            drop(residence);
            first = Some(self.wait_first(client, deadline).await?);
            residence = self.wait_to_reside(client, &needs, deadline).await?;
            needs.make_room().await?;
        }
        // Asked again: the first inference may have found out meanwhile. The memory in all is read
        // after that: a demand in bytes is held against what the weights have left.
        let demand = needs.demand();
        let all = self.all_memory.load(Relaxed);
        let (needed, first) = match demand {
            Demand::Unknown => (all as u32, first),
            Demand::All => (all as u32, None),
            Demand::Load(bytes) => (blocks(bytes).min(all as u32), first),
            Demand::Bytes(bytes) if blocks(bytes) as usize > all => {
                return Err(ApiError::OverBudget { needed: bytes, budget: all * BLOCK });
            }
            Demand::Bytes(bytes) => (blocks(bytes), None),
        };
        let permit = Arc::clone(&self.memory).acquire_many_owned(needed);
        let short = Counted::new(&self.waiting_for_memory);
        let memory = self.wait(client, permit, deadline).await?;
        drop(short);
        let reserved = self.all_memory.load(Relaxed) - self.memory.available_permits();
        self.granted.fetch_add(1, Relaxed);
        self.high_water.fetch_max(reserved, Relaxed);
        Ok(InferencePermit { memory, _inference: inference, first, _residence: residence })
    }

    /// Whether room is to be made: for a model, or for more than the weights of all models leave. What fits in no case
    /// costs no other model its place.
    fn needs_room(&self, needs: &impl Needs) -> bool {
        match needs.demand() {
            Demand::Unknown | Demand::Load(_) => true,
            Demand::Bytes(bytes) => {
                let (needed, all) = (blocks(bytes) as usize, self.all_memory.load(Relaxed));
                needed > all && needed <= all + needs.obtainable() / BLOCK
            }
            Demand::All => false,
        }
    }

    async fn wait_to_reside(
        &self,
        client: &Client,
        needs: &impl Needs,
        deadline: Instant,
    ) -> Result<Option<Residence>, ApiError> {
        let residence = async { Ok::<_, Infallible>(needs.reside().await) };
        self.wait(client, residence, deadline).await
    }

    /// # Errors
    /// [`ApiError::Busy`]: a request that has so many before it would wait for more than half of the
    /// time until its deadline. The other half is for what cannot be known: how much the inferences of
    /// those before it take, and its own.
    fn check_time(&self, ahead: usize, deadline: Instant) -> Result<(), ApiError> {
        let left = deadline.saturating_duration_since(Instant::now());
        match self.pace().expected(ahead) > left / 2 {
            true => Err(ApiError::Busy("more requests are waiting than can be answered in time")),
            false => Ok(()),
        }
    }

    /// What was measured is whole at any time, so a poisoned lock is usable.
    fn pace(&self) -> std::sync::MutexGuard<'_, Pace> {
        self.pace.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn wait_first(
        &self,
        client: &Client,
        deadline: Instant,
    ) -> Result<OwnedMutexGuard<()>, ApiError> {
        let guard = Arc::clone(&self.first).lock_owned();
        self.wait(client, async { Ok::<_, Infallible>(guard.await) }, deadline).await
    }

    async fn wait<T, E>(
        &self,
        client: &Client,
        permit: impl Future<Output = Result<T, E>>,
        deadline: Instant,
    ) -> Result<T, ApiError> {
        let (all, own) = (Counted::new(&self.waiting), Counted::new(&client.waiting));
        if all.before >= self.max_waiting {
            return Err(ApiError::Busy("too many requests are waiting"));
        }
        if own.before >= client.max_waiting {
            return Err(ApiError::Busy("too many requests of this client are waiting"));
        }
        let permit = timeout_at(deadline, permit).await;
        drop((all, own));
        match permit {
            Ok(Ok(permit)) => Ok(permit),
            _ => Err(ApiError::Busy(LATE)),
        }
    }

    /// Requests that wait now.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(Relaxed)
    }

    /// Requests that may wait at once.
    pub(crate) fn max_waiting(&self) -> usize {
        self.max_waiting
    }

    /// Whether an inference waits for memory, which others or their answers hold.
    pub(crate) fn memory_is_short(&self) -> bool {
        self.waiting_for_memory.load(Relaxed) > 0
    }

    /// Inferences that were ever granted.
    pub(crate) fn granted(&self) -> usize {
        self.granted.load(Relaxed)
    }

    /// Whether an inference is granted now, from before its memory until its end, or a request waits.
    pub(crate) fn is_busy(&self) -> bool {
        self.inferences.available_permits() < self.all_inferences || self.waiting() > 0
    }

    /// How the budget is used.
    pub(crate) fn reserved(&self) -> Reserved {
        let all = self.all_memory.load(Relaxed);
        let now = all.saturating_sub(self.memory.available_permits());
        Reserved {
            available: all * BLOCK,
            inferences: now * BLOCK,
            high_water: self.high_water.load(Relaxed) * BLOCK,
            uploads: self.uploads.held(),
        }
    }
}

fn blocks(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(BLOCK).max(1)).unwrap_or(u32::MAX)
}

/// Counts a request while it waits, also when its client goes away.
struct Counted<'a> {
    count: &'a AtomicUsize,
    /// The count without this one.
    before: usize,
}

impl Counted<'_> {
    fn new(count: &AtomicUsize) -> Counted<'_> {
        Counted { count, before: count.fetch_add(1, Relaxed) }
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.count.fetch_sub(1, Relaxed);
    }
}

/// The deadline of a request that begins now.
pub(crate) fn deadline(within: Duration) -> Instant {
    Instant::now() + within
}

#[cfg(test)]
mod tests;
