//! The boundary around tract: a panic inside becomes an error that keeps the panic's message.
//!
//! tract panics on some malformed files (an output that no node computes, for one) and on some
//! values that only running shows.

use crate::Error;
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Does work that calls tract. What the work was changing when it panicked must not be used again.
pub(crate) fn guarded<T>(
    stage: &'static str,
    work: impl FnOnce() -> Result<T, Error>,
) -> Result<T, Error> {
    catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|payload| Err(Error::Panicked { stage, message: message(&*payload) }))
}

/// The first line of a panic's message.
fn message(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().copied();
    let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    first_line(text.unwrap_or("no message"))
}

/// One line of bounded length: messages of tract's may quote whole tensors.
pub(crate) fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().chars().take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_an_error_with_its_message() {
        let index = std::hint::black_box(7);
        let formatted = guarded::<()>("running", || panic!("index {index}\nand more"));
        let literal = guarded::<()>("running", || panic!("on purpose"));
        for (result, expected) in [(formatted, "index 7"), (literal, "on purpose")] {
            let Err(Error::Panicked { stage, message }) = result else { panic!("{result:?}") };
            assert_eq!((stage, message.as_str()), ("running", expected));
        }
        assert!(guarded("running", || Ok(3)).is_ok_and(|value| value == 3));
    }
}
