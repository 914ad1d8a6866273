//! Connection table: the open connections, and which of them gives way to a new one.
//!
//! Each client's connections are listed by the time since which none of them has sent a whole request; the
//! clients are ranked by how many they hold. A connection's listed time may be too early, never too
//! late: a request does not touch the table. It is put right when the connection comes first.
//! So a new connection costs a few steps in these orders, however many are open.

use super::Connection;
use crate::clients::ClientAddress;
use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};
use std::ops::Bound::{Excluded, Unbounded};
use std::sync::Arc;
use std::time::Instant;

/// Who holds a connection. `None`: a trusted proxy, which stands for many clients.
pub(super) type Holder = Option<ClientAddress>;

/// The open connections.
#[derive(Debug, Default)]
pub(super) struct Table {
    open: HashMap<u64, Listed>,
    /// Each holder's connections, the one without a request for the longest first.
    held: HashMap<Holder, BTreeSet<(Instant, u64)>>,
    /// One entry for each holder, those that give way first.
    ranking: BTreeSet<Rank>,
}

#[derive(Debug)]
struct Listed {
    connection: Arc<Connection>,
    /// The time under which it is listed.
    since: Instant,
}

/// A holder's place in the order in which they give way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    /// Connections that it holds; of a trusted proxy, none.
    count: Reverse<usize>,
    /// The earliest time under which one of them is listed.
    oldest: Instant,
    holder: Holder,
}

impl Table {
    /// Connections that are open.
    pub(super) fn len(&self) -> usize {
        self.open.len()
    }

    pub(super) fn insert(&mut self, connection: Arc<Connection>, now: Instant) {
        self.list(connection.client, (now, connection.number));
        self.open.insert(connection.number, Listed { connection, since: now });
    }

    pub(super) fn remove(&mut self, number: u64) -> Option<Arc<Connection>> {
        let Listed { connection, since } = self.open.remove(&number)?;
        self.unlist(connection.client, (since, number));
        Some(connection)
    }

    /// Removes and returns the connections for which the predicate holds.
    pub(super) fn extract(
        &mut self,
        predicate: impl Fn(&Connection) -> bool,
    ) -> Vec<Arc<Connection>> {
        let found = self.open.values().filter(|listed| predicate(&listed.connection));
        let numbers: Vec<u64> = found.map(|listed| listed.connection.number).collect();
        numbers.into_iter().filter_map(|number| self.remove(number)).collect()
    }

    /// The connection that gives way to a new one; `None` where each is taken by a request.
    pub(super) fn victim(&mut self, now: Instant) -> Option<u64> {
        // All connections of the holders up to here have requests.
        let mut passed = None;
        loop {
            let rank = match passed {
                None => self.ranking.first(),
                Some(rank) => self.ranking.range((Excluded(rank), Unbounded)).next(),
            };
            let rank = *rank?;
            let (listed, number) = *self.held.get(&rank.holder)?.first()?;
            let waiting = self.open.get(&number)?.connection.waiting_since();
            // A request may end at any time from now on.
            let since = waiting.unwrap_or(now);
            if since > listed {
                self.relist(number, since);
            } else if waiting.is_some() {
                return Some(number);
            } else {
                passed = Some(rank);
            }
        }
    }

    /// Lists a connection under another time.
    fn relist(&mut self, number: u64, since: Instant) {
        let Some(listed) = self.open.get_mut(&number) else { return };
        let before = std::mem::replace(&mut listed.since, since);
        let holder = listed.connection.client;
        self.unlist(holder, (before, number));
        self.list(holder, (since, number));
    }

    fn list(&mut self, holder: Holder, entry: (Instant, u64)) {
        self.change(holder, |entries| entries.insert(entry));
    }

    fn unlist(&mut self, holder: Holder, entry: (Instant, u64)) {
        self.change(holder, |entries| entries.remove(&entry));
    }

    /// Changes what a holder holds, and its rank with it.
    fn change(
        &mut self,
        holder: Holder,
        change: impl FnOnce(&mut BTreeSet<(Instant, u64)>) -> bool,
    ) {
        let entries = self.held.entry(holder).or_default();
        if let Some(rank) = Rank::of(holder, entries) {
            self.ranking.remove(&rank);
        }
        change(entries);
        match Rank::of(holder, entries) {
            Some(rank) => {
                self.ranking.insert(rank);
            }
            None => {
                self.held.remove(&holder);
            }
        }
    }
}

impl Rank {
    /// `None`: it holds nothing.
    fn of(holder: Holder, entries: &BTreeSet<(Instant, u64)>) -> Option<Rank> {
        let (oldest, _) = *entries.first()?;
        let count = Reverse(if holder.is_some() { entries.len() } else { 0 });
        Some(Rank { count, oldest, holder })
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Activity, Phase};
    use super::*;
    use std::net::Ipv4Addr;
    use std::sync::Mutex;

    /// The table, and its connections as a plain list.
    #[derive(Default)]
    struct Both {
        table: Table,
        list: Vec<Arc<Connection>>,
        next: u64,
    }

    impl Both {
        /// The rule, word for word.
        fn expected(&self) -> Option<u64> {
            let held = |one: &Connection| {
                let of_same = self.list.iter().filter(|other| other.client == one.client);
                one.client.map_or(0, |_| of_same.count())
            };
            let waiting = self.list.iter().filter_map(|one| Some((one, one.waiting_since()?)));
            let first = waiting.min_by_key(|(one, since)| (Reverse(held(one)), *since));
            first.map(|(one, _)| one.number)
        }

        fn open(&mut self, client: u8) {
            let client = (client > 0).then(|| Ipv4Addr::from([10, 0, 0, client]));
            let now = Instant::now();
            let activity = Activity { phase: Phase::Idle, since: now, ending: None, waker: None };
            let connection = Arc::new(Connection {
                number: self.next,
                client: client.map(|address| ClientAddress::from(std::net::IpAddr::from(address))),
                activity: Mutex::new(activity),
            });
            self.next += 1;
            self.table.insert(Arc::clone(&connection), now);
            self.list.push(connection);
        }

        fn close(&mut self, number: u64) {
            self.list.retain(|one| one.number != number);
            assert!(self.table.remove(number).is_some());
        }
    }

    #[test]
    fn the_connection_that_gives_way_is_that_of_the_rule() {
        let mut random = fastrand::Rng::with_seed(19);
        let mut both = Both::default();
        for _ in 0..4000 {
            match random.u8(..8) {
                0 | 1 => both.open(random.u8(..6)),
                2 => {
                    if let Some(number) = random.choice(&both.list).map(|one| one.number) {
                        both.close(number);
                    }
                }
                3 => {
                    let (victim, expected) = (both.table.victim(Instant::now()), both.expected());
                    assert_eq!(victim, expected);
                    if let Some(number) = victim {
                        both.close(number);
                    }
                }
                _ => {
                    if let Some(one) = random.choice(&both.list) {
                        match random.u8(..4) {
                            0 => one.activity().has_read(),
                            1 | 2 => one.request(),
                            _ => one.body(),
                        }
                    }
                }
            }
            assert_eq!(both.table.len(), both.list.len());
        }
        let numbers: Vec<u64> = both.list.iter().map(|one| one.number).collect();
        numbers.into_iter().for_each(|number| both.close(number));
        assert!(both.table.held.is_empty() && both.table.ranking.is_empty());
    }
}
