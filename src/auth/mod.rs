//! Who is calling: bearer keys, and the guard before the doors.
//!
//! Floor 2. Keys are shown once and stored as keyed hashes.
//! Nothing here decides what an actor may do with a task: that is `control`'s. Start reading at [`keys`].

pub mod guard;
pub mod keys;
pub mod peer;

pub use guard::Guard;
pub use keys::Keys;
