//! A value, and how it is known.

/// A value and its origin.
#[derive(Debug, Clone)]
pub(super) struct Known<T> {
    pub(super) value: T,
    /// The file or part that it is from.
    pub(super) origin: &'static str,
    /// Whether it is a guess; `origin` then says what to look for.
    pub(super) is_guess: bool,
}

impl<T> Known<T> {
    pub(super) fn from(value: T, origin: &'static str) -> Known<T> {
        Known { value, origin, is_guess: false }
    }

    pub(super) fn guess(value: T, hint: &'static str) -> Known<T> {
        Known { value, origin: hint, is_guess: true }
    }

    /// Its origin, for another value of the same.
    pub(super) fn map<U>(self, change: impl FnOnce(T) -> U) -> Known<U> {
        Known { value: change(self.value), origin: self.origin, is_guess: self.is_guess }
    }

    /// As the end of a line of TOML.
    pub(super) fn comment(&self) -> String {
        if self.is_guess {
            format!("  # CHECK: {}", self.origin)
        } else {
            format!("  # {}", self.origin)
        }
    }
}
