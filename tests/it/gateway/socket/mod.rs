//! The WebSocket client against a gateway that plays any part.

mod events;
mod handshake;
mod losses;
mod promise;
mod requests;
