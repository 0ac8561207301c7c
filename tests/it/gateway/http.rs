//! Chat and status against the scripted gateway: everything that can come back, and everything that can't.

mod broken;
mod chat;
mod status;

use clawhand::gateway::http::{Ask, Reply};
use clawhand::gateway::{Fault, Gateway, GatewayError};

/// A message that belongs to no conversation.
fn ask(text: &str) -> Ask<'_> {
    Ask {
        text,
        session: None,
        model: None,
    }
}

async fn say(gateway: &Gateway, text: &str) -> Result<Reply, GatewayError> {
    gateway.chat(&ask(text)).await?.reply().await
}

/// What a chat fails with.
async fn fails(gateway: &Gateway) -> GatewayError {
    say(gateway, "hi").await.expect_err("it fails")
}

/// A failure of this kind with these words.
fn expect(error: &GatewayError, fault: &Fault, words: &str) {
    assert_eq!(error.fault, *fault, "{error:?}");
    assert!(error.message.contains(words), "{words}: {error:?}");
}
