//! Reads and watches the operator's folder of targets and recipes.
//!
//! Floor 1. A snapshot is all or nothing: a file with a mistake never takes part, and an edit that has one leaves the
//! last good snapshot in place, with every mistake told at its line and column. It never reads a secret: target files
//! hold references only. Start reading at [`load()`], then [`Inventory`].

mod builtin;
mod executor_block;
mod fields;
mod groups;
mod load;
mod problem;
mod quantity;
mod recipe_file;
mod step_table;
mod target_file;
mod watch;
mod words;

pub use load::{Snapshot, load};
pub use problem::Problem;
pub use watch::{Inventory, WatchError};
