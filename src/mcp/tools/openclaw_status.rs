//! `openclaw_status`.

use rmcp::model::Tool;

use super::{About, Call, Effect, describe, openclaw};
use crate::control::contract::openclaw::{OpenclawHealth, OpenclawStatus};
use crate::mcp::answer::Called;

pub(super) fn tool() -> Tool {
    describe::<OpenclawStatus, OpenclawHealth>(&About {
        name: "openclaw_status",
        title: "OpenClaw status",
        description: "Get OpenClaw gateway status and health information: whether a chat would be answered, and if \
                      not whether the gateway is unreachable, not ready, refuses the token or has chat disabled.",
        effect: Effect::Asks,
    })
}

pub(super) async fn call(mut call: Call<'_>) -> Called {
    let answer = match call.texts::<OpenclawStatus>() {
        Ok(arguments) => call.control.openclaw_status(call.actor, arguments).await,
        Err(refusal) => Err(refusal),
    };
    Ok(openclaw::result(answer).into())
}
