//! `openclaw_instances`.

use rmcp::model::Tool;

use super::{About, Call, Effect, describe, openclaw};
use crate::control::contract::openclaw::{OpenclawInstanceList, OpenclawInstances};
use crate::mcp::answer::Called;

pub(super) fn tool() -> Tool {
    describe::<OpenclawInstances, OpenclawInstanceList>(&About {
        name: "openclaw_instances",
        title: "OpenClaw instances",
        description: "List all configured OpenClaw instances: their names, and which is the default. Use instance \
                      names in other tools to target a specific OpenClaw gateway.",
        effect: Effect::Reads,
    })
}

#[expect(clippy::needless_pass_by_value, reason = "all tools are called alike")]
pub(super) fn call(call: Call<'_>) -> Called {
    Ok(openclaw::result(call.control.openclaw_instances(call.actor)).into())
}
