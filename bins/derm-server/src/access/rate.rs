//! Rate limit: how many requests a client may send in a time.

use crate::clients::ClientAddress;
use crate::error::ApiError;
use serde::Deserialize;
use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Clients that have all their requests left are forgotten when the table has grown by so many.
const GROWTH: usize = 1024;

/// RATE_LIMIT: `60`, `60/m`, `2/s`, `500/h`; without a unit, per minute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct RateLimit {
    requests: NonZeroU32,
    within: Duration,
}

impl TryFrom<String> for RateLimit {
    type Error = &'static str;

    fn try_from(text: String) -> Result<RateLimit, &'static str> {
        const EXPECTED: &str =
            "expected a number of requests per second, minute or hour: 2/s, 60/m, 500/h";
        let (count, unit) = text.split_once('/').unwrap_or((&text, "m"));
        let seconds = match unit.trim().to_ascii_lowercase().as_str() {
            "s" | "sec" | "second" => 1,
            "m" | "min" | "minute" => 60,
            "h" | "hour" => 3600,
            _ => return Err(EXPECTED),
        };
        let requests = count.trim().parse().map_err(|_| EXPECTED)?;
        Ok(RateLimit { requests, within: Duration::from_secs(seconds) })
    }
}

/// Counts the requests of each client, by the generic cell rate algorithm: of each client, only the
/// time is kept at which it has all its requests left again.
#[derive(Debug)]
pub(crate) struct RateLimiter {
    limit: RateLimit,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    restored: HashMap<ClientAddress, Instant>,
    /// Length at which clients that have all their requests left are forgotten.
    tidy_at: usize,
}

impl RateLimiter {
    /// A client may send all requests of the time at once, and then one whenever its part of it is
    /// over.
    pub(crate) fn new(limit: RateLimit) -> RateLimiter {
        RateLimiter { limit, table: Mutex::default() }
    }

    /// Counts a request of this client.
    ///
    /// # Errors
    /// [`ApiError::TooManyRequests`].
    pub(crate) fn check(&self, client: ClientAddress) -> Result<(), ApiError> {
        self.check_at(client, Instant::now())
    }

    fn check_at(&self, client: ClientAddress, now: Instant) -> Result<(), ApiError> {
        let RateLimit { requests, within } = self.limit;
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        if table.restored.len() >= table.tidy_at {
            table.restored.retain(|_, restored| *restored > now);
            table.tidy_at = table.restored.len() + GROWTH;
        }
        let restored = table.restored.get(&client).map_or(now, |&restored| restored.max(now));
        let after = restored + within / requests.get();
        let wait = (after - now).saturating_sub(within);
        if !wait.is_zero() {
            return Err(ApiError::TooManyRequests { seconds: wait.as_secs() + 1 });
        }
        table.restored.insert(client, after);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::IpAddr;

    fn client(low: u32) -> ClientAddress {
        IpAddr::from(low.to_be_bytes()).into()
    }

    #[test]
    fn a_limit_is_a_number_and_a_unit() {
        let limit = |text: &str| {
            RateLimit::try_from(text.to_owned())
                .map(|limit| (limit.requests.get(), limit.within.as_secs()))
        };
        assert_eq!(limit("60"), Ok((60, 60)));
        assert_eq!((limit("2/s"), limit(" 500 / hour ")), (Ok((2, 1)), Ok((500, 3600))));
        for bad in ["0", "-1", "1/day", "x", "", "1/", "1.5/s"] {
            assert!(limit(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn each_client_has_its_own_count_and_gets_one_request_after_the_other_back() {
        let limiter = RateLimiter::new(RateLimit::try_from("3/h".to_owned()).unwrap());
        let start = Instant::now();
        let at = |low, seconds| limiter.check_at(client(low), start + Duration::from_secs(seconds));
        for _ in 0..3 {
            at(1, 0).unwrap();
        }
        for (seconds, wait) in [(0, 1201), (1000, 201), (1199, 2)] {
            let Err(ApiError::TooManyRequests { seconds }) = at(1, seconds) else {
                panic!("a fourth request after {seconds} s")
            };
            assert_eq!(seconds, wait);
        }
        at(2, 0).unwrap();
        at(1, 1200).unwrap();
        assert!(at(1, 1201).is_err());
        for _ in 0..3 {
            at(1, 10_000).unwrap();
        }
        assert!(at(1, 10_000).is_err());
    }

    #[test]
    fn clients_that_have_all_requests_left_are_forgotten() {
        let limiter = RateLimiter::new(RateLimit::try_from("1/s".to_owned()).unwrap());
        let start = Instant::now();
        for low in 0..100_000 {
            // Ten clients at once, and the next ten when these have their request back.
            let now = start + Duration::from_secs(u64::from(low / 10) * 2);
            limiter.check_at(client(low), now).unwrap();
        }
        let kept = limiter.table.lock().unwrap().restored.len();
        assert!(kept <= GROWTH + 10, "{kept}");
    }
}
