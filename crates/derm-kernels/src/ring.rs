//! Ring of rows: a tensor of which only some rows are in memory at a time.

/// A tensor `[rows, columns, channels]` of which `held_rows` rows are in memory: row `r` lies where
/// row `r % held_rows` of them does.
#[derive(Debug, Clone, Copy)]
pub struct Ring<T> {
    /// The rows in memory.
    pub values: T,
    /// How many rows they are.
    pub held_rows: usize,
}
