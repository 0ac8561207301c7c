//! The block of `kind = "group"`.

/// Several targets under one name: a plan runs on each of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GroupBlock {
    /// The names of the members, in the order in which they begin.
    pub members: Vec<String>,
    /// On how many it runs at the same time.
    pub at_once: u32,
    /// After more failures than this no further member begins.
    pub max_failures: u32,
}
