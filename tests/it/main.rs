//! One integration binary: what the rooms promise, seen from outside.

mod archive;
mod blobs;
mod redact;
