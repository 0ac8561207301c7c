//! The integration tests of clawhand: one binary, a module per story.

mod planning;
mod recipes;
//! One integration binary: what the rooms promise, seen from outside.

mod archive;
mod redact;
