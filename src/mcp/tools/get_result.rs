//! `get_result`.

use rmcp::model::{CallToolResult, ContentBlock, Resource, Tool};
use serde_json::Value;

use super::{About, Call, Effect, describe};
use crate::control::contract::{ExecutionResult, GetResult};
use crate::mcp::answer::{self, Called};

pub(super) fn tool() -> Tool {
    describe::<GetResult, ExecutionResult>(&About {
        name: "get_result",
        title: "Get the result",
        description: "Use this when an execution is over: how it ended, which tests passed and failed, what it made. \
                      Before that it says where the execution stands.",
        effect: Effect::Reads,
    })
}

pub(super) async fn call(mut call: Call<'_>) -> Called {
    let answer = match call.arguments::<GetResult>() {
        Ok(arguments) => call.control.get_result(call.actor, arguments).await,
        Err(refusal) => Err(refusal),
    };
    Ok(with_links(answer::result(answer)).into())
}

/// Adds a link for each artifact, so that a client can offer them without understanding the structured content.
pub(in crate::mcp) fn with_links(mut result: CallToolResult) -> CallToolResult {
    let artifacts = result
        .structured_content
        .as_ref()
        .and_then(|content| content["artifacts"].as_array());
    let links: Vec<ContentBlock> = artifacts.into_iter().flatten().filter_map(link).collect();
    result.content.extend(links);
    result
}

fn link(artifact: &Value) -> Option<ContentBlock> {
    let mut link = Resource::new(artifact["uri"].as_str()?, artifact["name"].as_str()?);
    link.size = artifact["size"].as_u64();
    Some(ContentBlock::resource_link(link))
}
