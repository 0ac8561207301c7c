//! Targets of every kind behind one door: the same result, no word of where it ran, and faults that cost nothing. Each
//! on the real system; one that isn't there is said and left out.
//!
//! Start at [`site::Site`], a system with a target on it.

mod cut;
mod died;
mod docker;
mod kubernetes;
mod private;
mod proxy;
mod same;
mod site;
mod ssh;
