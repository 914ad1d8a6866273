//! Connections: how many are open, what each is doing, and which of them gives way.
//!
//! Where all places are taken, a new connection takes that of another: of the client that holds most
//! connections, the one that has been without a whole request for the longest. A connection whose
//! request runs or waits is never closed. So idle and slow connections, however many, do not keep
//! others out.

mod stream;
mod table;

pub(crate) use stream::GuardedStream;

use crate::clients::TrustedProxies;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::{Duration, Instant};
use table::{Holder, Table};

/// Bytes that one connection takes: its buffers, tasks and timers.
pub(crate) const CONNECTION_BYTES: usize = 20 << 10;
/// How long the head of a request may take from its first byte on.
pub(crate) const HEAD_LIMIT: Duration = Duration::from_secs(10);
/// How long the client may take none of an answer.
const STALL_LIMIT: Duration = Duration::from_secs(30);
/// As [`STALL_LIMIT`], while a request waits for memory, which answers hold.
const SHORT_STALL_LIMIT: Duration = Duration::from_secs(2);
/// Bytes per second that an answer must be taken with on average, after [`STALL_LIMIT`].
const MIN_RATE: u64 = 4096;

/// All open connections.
#[derive(Debug)]
pub(crate) struct Connections {
    /// How many may be open.
    limit: usize,
    trusted: TrustedProxies,
    table: Mutex<Table>,
    /// Connections that were ever opened.
    opened: AtomicU64,
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Connection {
    number: u64,
    client: Holder,
    activity: Mutex<Activity>,
}

#[derive(Debug)]
struct Activity {
    phase: Phase,
    /// When the phase began.
    since: Instant,
    ending: Option<Ending>,
    /// Wakes the connection's task.
    waker: Option<Waker>,
}

/// What a connection is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Nothing, since the last answer or the beginning.
    Idle,
    /// The head of a request has begun to arrive.
    Head,
    /// The body of a request arrives.
    Body,
    /// A request waits or runs.
    Busy,
    /// An answer is sent; by when it must be, and when the client took some of it last.
    Answer { until: Instant, progress: Instant },
    /// As before, and what is left of it is in the connection's buffer.
    LastBytes { until: Instant, progress: Instant },
}

/// How a connection ends before its client closes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    /// Nothing more is read.
    Close,
    /// Nothing more is read or written.
    Abort,
}

impl Connections {
    pub(crate) fn new(limit: usize, trusted: TrustedProxies) -> Connections {
        Connections { limit, trusted, table: Mutex::default(), opened: AtomicU64::new(0) }
    }

    /// A place for a new connection; `None` where each is taken by a request.
    pub(crate) fn admit(&self, peer: IpAddr) -> Option<Arc<Connection>> {
        let now = Instant::now();
        let connection = Arc::new(Connection {
            number: self.opened.fetch_add(1, Relaxed),
            client: (!self.trusted.contains(peer)).then(|| peer.into()),
            activity: Mutex::new(Activity {
                phase: Phase::Idle,
                since: now,
                ending: None,
                waker: None,
            }),
        });
        let mut table = self.table();
        let mut victim = None;
        if table.len() >= self.limit {
            let number = table.victim(now)?;
            victim = table.remove(number);
        }
        table.insert(Arc::clone(&connection), now);
        drop(table);
        if let Some(victim) = victim {
            victim.end();
        }
        Some(connection)
    }

    /// Ends connections that have been too slow for too long; sooner if memory is short.
    pub(crate) fn sweep(&self, memory_is_short: bool) {
        let stall = if memory_is_short { SHORT_STALL_LIMIT } else { STALL_LIMIT };
        let now = Instant::now();
        let is_overdue = |connection: &Connection| connection.activity().is_overdue(now, stall);
        let overdue = self.table().extract(is_overdue);
        overdue.iter().for_each(|connection| connection.end());
    }

    /// How many may be open.
    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    /// Connections that are open now.
    pub(crate) fn count(&self) -> usize {
        self.table().len()
    }

    /// Connections that were ever opened.
    pub(crate) fn opened(&self) -> u64 {
        self.opened.load(Relaxed)
    }

    fn remove(&self, connection: &Connection) {
        self.table().remove(connection.number);
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Connection {
    /// A request has arrived, but for its body.
    pub(crate) fn request(&self) {
        self.enter(Phase::Busy);
    }

    /// Its body is read from now on.
    pub(crate) fn body(&self) {
        self.enter(Phase::Body);
    }

    /// An answer of so many bytes begins to be sent.
    pub(crate) fn answer(&self, bytes: u64) {
        let progress = Instant::now();
        let until = progress + STALL_LIMIT + Duration::from_secs(bytes / MIN_RATE);
        self.enter(Phase::Answer { until, progress });
    }

    /// All of the answer is in the connection's buffer.
    pub(crate) fn last_bytes(&self) {
        let mut activity = self.activity();
        if let Phase::Answer { until, progress } = activity.phase {
            activity.phase = Phase::LastBytes { until, progress };
        }
    }

    fn enter(&self, phase: Phase) {
        let mut activity = self.activity();
        activity.phase = phase;
        activity.since = Instant::now();
    }

    /// Since when it has been without a whole request; `None`: a request waits or runs.
    fn waiting_since(&self) -> Option<Instant> {
        let activity = self.activity();
        (activity.phase != Phase::Busy).then_some(activity.since)
    }

    /// Ends it: an answer is cut off, a request that has not arrived is not waited for.
    fn end(&self) {
        let mut activity = self.activity();
        let answers = matches!(activity.phase, Phase::Answer { .. } | Phase::LastBytes { .. });
        activity.ending = Some(if answers { Ending::Abort } else { Ending::Close });
        let waker = activity.waker.take();
        drop(activity);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn activity(&self) -> MutexGuard<'_, Activity> {
        self.activity.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Activity {
    fn is_overdue(&self, now: Instant, stall: Duration) -> bool {
        match self.phase {
            // The protocol layer limits idle connections; reading a body has limits of its own.
            Phase::Idle | Phase::Body | Phase::Busy => false,
            Phase::Head => now > self.since + HEAD_LIMIT,
            Phase::Answer { until, progress } | Phase::LastBytes { until, progress } => {
                now > until || now > progress + stall
            }
        }
    }

    /// Bytes have arrived.
    fn has_read(&mut self) {
        if self.phase == Phase::Idle {
            self.phase = Phase::Head;
            self.since = Instant::now();
        }
    }

    /// Bytes were sent.
    fn has_written(&mut self) {
        if let Phase::Answer { progress, .. } | Phase::LastBytes { progress, .. } = &mut self.phase
        {
            *progress = Instant::now();
        }
    }

    /// The connection's buffer is empty.
    fn has_flushed(&mut self) {
        if matches!(self.phase, Phase::LastBytes { .. }) {
            self.phase = Phase::Idle;
            self.since = Instant::now();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connections(limit: usize) -> Connections {
        Connections::new(limit, TrustedProxies::try_from("10.9.0.0/16".to_owned()).unwrap())
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn is_open(connection: &Connection) -> bool {
        connection.activity().ending.is_none()
    }

    #[test]
    fn the_client_with_most_connections_gives_way_and_its_oldest_first() {
        let connections = connections(4);
        let lone = connections.admit(ip("10.0.0.1")).unwrap();
        let many: Vec<_> = (0..3).map(|_| connections.admit(ip("10.0.0.2")).unwrap()).collect();
        let next = connections.admit(ip("10.0.0.3")).unwrap();
        assert_eq!(many.iter().map(|one| is_open(one)).collect::<Vec<_>>(), [false, true, true]);
        assert!(is_open(&lone) && is_open(&next));
        assert_eq!(connections.count(), 4);
    }

    #[test]
    fn a_request_is_never_closed_for_another() {
        let connections = connections(2);
        let busy = connections.admit(ip("10.0.0.1")).unwrap();
        let idle = connections.admit(ip("10.0.0.1")).unwrap();
        busy.request();
        let third = connections.admit(ip("10.0.0.2")).unwrap();
        assert!(is_open(&busy) && !is_open(&idle));
        third.request();
        assert!(connections.admit(ip("10.0.0.3")).is_none(), "all places are taken by requests");
        busy.answer(10);
        busy.last_bytes();
        assert!(connections.admit(ip("10.0.0.3")).is_some());
        assert!(!is_open(&busy) && is_open(&third));
    }

    #[test]
    fn a_trusted_proxy_stands_for_many_clients() {
        let connections = connections(4);
        let proxy: Vec<_> = (0..3).map(|_| connections.admit(ip("10.9.0.1")).unwrap()).collect();
        let other = connections.admit(ip("10.0.0.1")).unwrap();
        connections.admit(ip("10.0.0.2")).unwrap();
        assert!(proxy.iter().all(|one| is_open(one)) && !is_open(&other));
    }

    #[test]
    fn each_phase_has_its_limit() {
        let connections = connections(1);
        let one = connections.admit(ip("10.0.0.1")).unwrap();
        let overdue = |seconds: u64, stall| {
            let later = Instant::now() + Duration::from_secs(seconds);
            one.activity().is_overdue(later, stall)
        };
        assert!(!overdue(1000, STALL_LIMIT), "idle connections are the protocol layer's");
        one.activity().has_read();
        assert!(!overdue(9, STALL_LIMIT) && overdue(11, STALL_LIMIT), "head");
        one.request();
        assert!(!overdue(1000, STALL_LIMIT), "busy");
        one.answer(4096 * 100);
        assert!(!overdue(29, STALL_LIMIT) && overdue(31, STALL_LIMIT), "no progress");
        assert!(overdue(3, SHORT_STALL_LIMIT), "memory is short");
        one.last_bytes();
        one.activity().has_flushed();
        assert!(!overdue(1000, STALL_LIMIT), "idle again");
    }

    #[test]
    fn an_answer_that_is_taken_byte_by_byte_has_a_limit_too() {
        let connections = connections(1);
        let one = connections.admit(ip("10.0.0.1")).unwrap();
        one.answer(4096 * 100);
        for (seconds, is_over) in [(129, false), (131, true)] {
            let now = Instant::now() + Duration::from_secs(seconds);
            let mut activity = one.activity();
            let Phase::Answer { progress, .. } = &mut activity.phase else { panic!("answer") };
            *progress = now;
            assert_eq!(activity.is_overdue(now, STALL_LIMIT), is_over, "{seconds} s");
        }
    }
}
