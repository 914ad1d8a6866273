//! Clients: who sends a request, and what one of them may hold at most.

mod proxies;

pub(crate) use proxies::TrustedProxies;

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use tokio::sync::Semaphore;

/// Entries of clients that are gone are dropped when the table has grown by so many.
const GROWTH: usize = 64;

/// The share of a resource that one client may hold.
pub(crate) fn share(all: usize) -> usize {
    (all / 4 * 3).max(1)
}

/// A client: an IPv4 address, or the 64 bits of an IPv6 address that its network assigns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ClientAddress(IpAddr);

impl From<IpAddr> for ClientAddress {
    fn from(address: IpAddr) -> ClientAddress {
        ClientAddress(match address.to_canonical() {
            IpAddr::V6(address) => {
                let network = address.to_bits() & !u128::from(u64::MAX);
                IpAddr::V6(Ipv6Addr::from_bits(network))
            }
            address => address,
        })
    }
}

impl std::fmt::Display for ClientAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// What one client holds; shared by all its requests.
#[derive(Debug)]
pub(crate) struct Client {
    /// Blocks of upload memory that it may still take.
    pub(crate) uploads: Arc<Semaphore>,
    /// The one request of this client that may stand in the queue for the reserve.
    pub(crate) turn: Arc<tokio::sync::Mutex<()>>,
    /// Its requests that wait.
    pub(crate) waiting: AtomicUsize,
    /// How many of them may.
    pub(crate) max_waiting: usize,
}

/// The clients that hold anything now.
#[derive(Debug)]
pub(crate) struct Clients {
    upload_blocks: usize,
    max_waiting: usize,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    clients: HashMap<ClientAddress, Weak<Client>>,
    /// Length at which entries of clients that are gone are dropped.
    tidy_at: usize,
}

impl Clients {
    /// Each client may hold its share of so many blocks of upload memory and places to wait.
    pub(crate) fn new(upload_blocks: usize, max_waiting: usize) -> Clients {
        let (upload_blocks, max_waiting) = (share(upload_blocks), share(max_waiting));
        Clients { upload_blocks, max_waiting, table: Mutex::default() }
    }

    /// The client of this address.
    pub(crate) fn get(&self, address: ClientAddress) -> Arc<Client> {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = table.clients.get(&address).and_then(Weak::upgrade) {
            return client;
        }
        if table.clients.len() >= table.tidy_at {
            table.clients.retain(|_, client| client.strong_count() > 0);
            table.tidy_at = table.clients.len() + GROWTH;
        }
        let client = Arc::new(self.new_client());
        table.clients.insert(address, Arc::downgrade(&client));
        client
    }

    fn new_client(&self) -> Client {
        Client {
            uploads: Arc::new(Semaphore::new(self.upload_blocks)),
            turn: Arc::default(),
            waiting: AtomicUsize::new(0),
            max_waiting: self.max_waiting,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> ClientAddress {
        ClientAddress::from(text.parse::<IpAddr>().unwrap())
    }

    #[test]
    fn a_client_is_an_ipv4_address_or_an_ipv6_network() {
        assert_eq!(address("2001:db8::1"), address("2001:db8::ffff:2"));
        assert_ne!(address("2001:db8::1"), address("2001:db8:0:1::1"));
        assert_eq!(address("::ffff:10.0.0.1"), address("10.0.0.1"));
        assert_ne!(address("10.0.0.2"), address("10.0.0.1"));
    }

    #[test]
    fn a_client_is_shared_while_it_holds_something_and_forgotten_after() {
        let clients = Clients::new(100, 10);
        let first = clients.get(address("10.0.0.1"));
        assert!(Arc::ptr_eq(&first, &clients.get(address("10.0.0.1"))));
        for low in 0..10_000_u32 {
            clients.get(ClientAddress::from(IpAddr::from(low.to_be_bytes())));
        }
        let entries = clients.table.lock().unwrap().clients.len();
        assert!(entries <= GROWTH + 1, "{entries} entries of clients that are gone");
        assert!(Arc::ptr_eq(&first, &clients.get(address("10.0.0.1"))));
    }
}
