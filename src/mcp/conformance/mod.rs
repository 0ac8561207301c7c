//! What the MCP conformance suite calls: tools, prompts and resources with fixed answers, beside the real ones.
//!
//! Only in builds with the cargo feature `conformance`, which releases don't have. Nothing here reaches `control`.
//! The words and numbers are the suite's (`@modelcontextprotocol/conformance`); what is not listed here goes on to the
//! real handler.

#![expect(
    deprecated,
    reason = "logging, sampling and roots are deprecated in the protocol; the suite still asks for them"
)]

mod data;
mod questions;
mod tools;

use std::sync::Arc;

use rmcp::model::{
    CallToolRequestParams, CancelTaskParams, CompleteRequestParams, CompleteResult, GetPromptRequestParams,
    GetPromptResponse, GetTaskParams, GetTaskResult, ListPromptsResult, ListResourceTemplatesResult,
    ListResourcesResult, ListToolsResult, PaginatedRequestParams, ReadResourceRequestParams, ReadResourceResponse,
    RequestStateCodec, ServerCapabilities, ServerConfig, SetLevelRequestParams, SubscribeRequestParams,
    SubscriptionFilter, Tool, UnsubscribeRequestParams, UpdateTaskParams,
};
use rmcp::service::RequestContext;
use rmcp::{ErrorData, RoleServer, ServerHandler};

use super::Handler;
use super::answer::Called;
use super::direct::Direct;

type Context = RequestContext<RoleServer>;

/// The fixtures, and behind them the real handler.
#[derive(Clone)]
pub struct Fixtures {
    handler: Handler,
    state: Arc<RequestStateCodec>,
}

impl Fixtures {
    /// Puts the fixtures beside what `handler` offers.
    pub fn beside(handler: Handler) -> Self {
        // A fixed key is enough: the state that is sealed with it is the suite's own.
        let state = Arc::new(RequestStateCodec::new(*b"conformance fixtures, never real"));
        Self { handler, state }
    }
}

impl Direct for Fixtures {
    /// Those of clawhand. The fixtures log and ask, which is what they are for.
    fn answers_once(&self, tool: &str) -> bool {
        self.handler.answers_once(tool)
    }
}

impl ServerHandler for Fixtures {
    fn get_info(&self) -> ServerConfig {
        let mut info = self.handler.get_info();
        info.capabilities = ServerCapabilities::builder()
            .enable_tools()
            .enable_resources()
            .enable_resources_subscribe()
            .enable_prompts()
            .enable_completions()
            .enable_logging()
            .enable_tasks()
            .build();
        info
    }

    fn get_tool(&self, name: &str) -> Option<Tool> {
        let own = tools::all().into_iter().find(|tool| tool.name == name);
        own.or_else(|| self.handler.get_tool(name))
    }

    async fn list_tools(
        &self,
        request: Option<PaginatedRequestParams>,
        context: Context,
    ) -> Result<ListToolsResult, ErrorData> {
        let mut list = self.handler.list_tools(request, context).await?;
        list.tools.extend(tools::all());
        list.tools.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(list)
    }

    async fn call_tool(&self, request: CallToolRequestParams, context: Context) -> Called {
        match tools::call(&self.state, &request, &context).await {
            Some(called) => called,
            None => self.handler.call_tool(request, context).await,
        }
    }

    async fn list_prompts(
        &self,
        _: Option<PaginatedRequestParams>,
        _: Context,
    ) -> Result<ListPromptsResult, ErrorData> {
        Ok(ListPromptsResult::with_all_items(data::prompts()))
    }

    async fn get_prompt(&self, request: GetPromptRequestParams, _: Context) -> Result<GetPromptResponse, ErrorData> {
        data::prompt(&request)
    }

    async fn complete(&self, _: CompleteRequestParams, _: Context) -> Result<CompleteResult, ErrorData> {
        Ok(CompleteResult::default())
    }

    async fn list_resources(
        &self,
        _: Option<PaginatedRequestParams>,
        _: Context,
    ) -> Result<ListResourcesResult, ErrorData> {
        Ok(ListResourcesResult::with_all_items(data::resources()))
    }

    async fn list_resource_templates(
        &self,
        request: Option<PaginatedRequestParams>,
        context: Context,
    ) -> Result<ListResourceTemplatesResult, ErrorData> {
        let mut list = self.handler.list_resource_templates(request, context).await?;
        list.resource_templates.push(data::template());
        Ok(list)
    }

    async fn read_resource(
        &self,
        request: ReadResourceRequestParams,
        context: Context,
    ) -> Result<ReadResourceResponse, ErrorData> {
        match data::resource(&request.uri) {
            Some(resource) => resource.map(Into::into),
            None => self.handler.read_resource(request, context).await,
        }
    }

    async fn set_level(&self, _: SetLevelRequestParams, _: Context) -> Result<(), ErrorData> {
        Ok(())
    }

    async fn subscribe(&self, _: SubscribeRequestParams, _: Context) -> Result<(), ErrorData> {
        Ok(())
    }

    async fn unsubscribe(&self, _: UnsubscribeRequestParams, _: Context) -> Result<(), ErrorData> {
        Ok(())
    }

    fn accepted_subscription_filter(&self, requested: &SubscriptionFilter) -> Option<SubscriptionFilter> {
        // A stream may be opened; nothing here ever changes, so nothing is ever sent on it.
        Some(requested.clone())
    }

    async fn get_task(&self, request: GetTaskParams, context: Context) -> Result<GetTaskResult, ErrorData> {
        self.handler.get_task(request, context).await
    }

    async fn update_task(&self, request: UpdateTaskParams, context: Context) -> Result<(), ErrorData> {
        self.handler.update_task(request, context).await
    }

    async fn cancel_task(&self, request: CancelTaskParams, context: Context) -> Result<(), ErrorData> {
        self.handler.cancel_task(request, context).await
    }
}

/// Reads a fixture that is written as JSON.
fn fixture<T: serde::de::DeserializeOwned>(value: serde_json::Value) -> Result<T, ErrorData> {
    serde_json::from_value(value)
        .map_err(|error| ErrorData::internal_error(format!("a fixture is wrong: {error}"), None))
}
