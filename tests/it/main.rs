//! The integration tests: one program.

mod executors;
