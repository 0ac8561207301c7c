//! The integration tests of clawhand: one binary, a module per story.

mod planning;
mod recipes;
mod resolution;
mod results;
