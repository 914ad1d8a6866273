//! Verdict: what a comparison found, as a person reads it.

use super::{Agreement, BetterFit, Comparison};
use crate::Error;
use serde::Serialize;
use std::fmt;

/// How well probabilities agree and, where that is not within [`TOLERANCE`](super::TOLERANCE), the
/// preprocessing that fits better.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Verdict {
    /// Agreement with the manifest's preprocessing.
    pub agreement: Agreement,
    /// `None` where they agree, or no usual preprocessing fits better.
    pub better: Option<BetterFit>,
}

impl Comparison {
    /// Compares all pictures and, where they do not agree, searches for what fits better.
    ///
    /// # Errors
    /// As [`Comparison::agreement`].
    pub fn verdict(&self) -> Result<Verdict, Error> {
        let agreement = self.agreement()?;
        let better = if agreement.is_within_tolerance() { None } else { self.better_fit()? };
        Ok(Verdict { agreement, better })
    }
}

/// Lines, the last without an end.
impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.agreement)?;
        if self.agreement.is_within_tolerance() {
            return Ok(());
        }
        match &self.better {
            Some(better) => {
                write!(f, "\nbetter: {}, with this in [input]:", better.agreement)?;
                better.changes.iter().try_for_each(|line| write!(f, "\n    {line}"))
            }
            None => write!(
                f,
                "\nno usual preprocessing fits better: are classes, output and weights the same?"
            ),
        }
    }
}

impl fmt::Display for Agreement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} pictures, {} with the same most probable class, probabilities differ by {:.4} in the mean, {:.4} at most",
            self.pictures, self.same_class, self.mean_difference, self.largest_difference,
        )
    }
}
