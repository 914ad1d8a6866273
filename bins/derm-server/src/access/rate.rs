//! Rate limit: how many requests a client may send in a time.

use crate::clients::ClientAddress;
use crate::error::ApiError;
use governor::clock::{Clock, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota};
use serde::Deserialize;
use std::num::NonZeroU32;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

/// Clients that have all their requests left are forgotten after so many requests.
const TIDY_EVERY: u32 = 1024;

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

/// Counts the requests of each client.
#[derive(Debug)]
pub(crate) struct RateLimiter {
    limiter: DefaultKeyedRateLimiter<ClientAddress>,
    checks: AtomicU32,
}

impl RateLimiter {
    /// A client may send all requests of the time at once, and then one whenever its part of it is over.
    pub(crate) fn new(limit: RateLimit) -> RateLimiter {
        let apart = (limit.within / limit.requests.get()).max(Duration::from_nanos(1));
        let quota = Quota::with_period(apart).unwrap_or(Quota::per_minute(limit.requests));
        let limiter = governor::RateLimiter::keyed(quota.allow_burst(limit.requests));
        RateLimiter { limiter, checks: AtomicU32::new(0) }
    }

    /// Counts a request of this client.
    ///
    /// # Errors
    /// [`ApiError::TooManyRequests`].
    pub(crate) fn check(&self, client: ClientAddress) -> Result<(), ApiError> {
        if self.checks.fetch_add(1, Relaxed) % TIDY_EVERY == TIDY_EVERY - 1 {
            self.limiter.retain_recent();
        }
        self.limiter.check_key(&client).map_err(|later| {
            let wait = later.wait_time_from(DefaultClock::default().now());
            ApiError::TooManyRequests { seconds: wait.as_secs() + 1 }
        })
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
    fn each_client_has_its_own_count() {
        let limiter = RateLimiter::new(RateLimit::try_from("3/h".to_owned()).unwrap());
        for _ in 0..3 {
            limiter.check(client(1)).unwrap();
        }
        let Err(ApiError::TooManyRequests { seconds }) = limiter.check(client(1)) else {
            panic!("a fourth request")
        };
        assert!((1..=1201).contains(&seconds), "{seconds}");
        limiter.check(client(2)).unwrap();
    }

    #[test]
    fn clients_that_have_all_requests_left_are_forgotten() {
        let limiter = RateLimiter::new(RateLimit::try_from("4000000000/s".to_owned()).unwrap());
        for low in 0..20 * TIDY_EVERY {
            limiter.check(client(low)).unwrap();
        }
        assert!(limiter.limiter.len() <= 2 * TIDY_EVERY as usize, "{}", limiter.limiter.len());
    }
}
