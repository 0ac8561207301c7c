//! The MCP server's methods. Each finds out who is calling, hands over, and shapes what came back.

use std::sync::Arc;

use rmcp::model::{
    CallToolRequestParams, CancelTaskParams, CompleteRequestMethod, CompleteRequestParams, CompleteResult,
    CustomRequest, CustomResult, GetTaskParams, GetTaskResult, Implementation, ListPromptsRequestMethod,
    ListPromptsResult, ListResourceTemplatesResult, ListToolsResult, PaginatedRequestParams, ReadResourceRequestParams,
    ReadResourceResponse, ServerCapabilities, ServerConfig, Tool, UpdateTaskParams,
};
use rmcp::service::RequestContext;
use rmcp::{ErrorData, RoleServer, ServerHandler};

use super::answer::{self, Called};
use super::direct::Direct;
use super::tools::{self, Call};
use super::{executions, resources};
use crate::control::Control;
use crate::control::conversations::Conversations;
use crate::domain::{Actor, Code, Refusal};

/// What every client reads first.
const INSTRUCTIONS: &str = "clawhand does work on real systems for you: you say what and where in words, it decides \
how. Call list_targets to see where work can run. Call submit_task with the goal, the target and the intent; it answers \
with a plan and with what it still needs. Attach the project's files with upload_artifact (one archive is best), then \
call start_execution. Follow with get_status (pass next_cursor and wait_ms) until the state is final, then call \
get_result for the outcome. When an execution is awaiting_approval, a person has to answer; you can't answer for them. \
Every refusal has a code, a message and a hint that says what to do.";

/// What they read where there is a gateway.
const ABOUT_OPENCLAW: &str = " openclaw_chat asks an OpenClaw agent and waits for its reply; openclaw_instances lists the \
gateways and openclaw_status tells how one is. conversations_list shows the conversations on its channels; read one with \
messages_read, answer with messages_send, and follow with events_wait.";

/// The methods that take something.
const METHODS: [&str; 5] = [
    "tools/call",
    "resources/read",
    "tasks/get",
    "tasks/update",
    "tasks/cancel",
];

/// The client's name is kept for records; a longer one is cut.
const CLIENT_MAX: usize = 100;

/// Who the caller of a request is.
#[derive(Debug, Clone)]
pub enum Caller {
    /// Always this actor: a process that talks over its own standard input.
    Fixed(Actor),
    /// The actor that the door in front put into the HTTP request; a request without one is refused.
    OfRequest,
}

/// The MCP server. Cheap to clone: every HTTP request gets its own.
#[derive(Clone)]
pub struct Handler(Arc<Shared>);

struct Shared {
    control: Control,
    conversations: Conversations,
    caller: Caller,
    tools: Vec<Tool>,
}

impl Handler {
    /// A server that acts through `control` in the name of `caller`.
    pub fn new(control: Control, caller: Caller) -> Self {
        Self(Arc::new(Shared {
            tools: tools::offered(&control),
            conversations: control.conversations(),
            control,
            caller,
        }))
    }

    fn instructions(&self) -> String {
        let mut instructions = INSTRUCTIONS.to_owned();
        if self.0.control.has_gateways() {
            instructions.push_str(ABOUT_OPENCLAW);
        }
        instructions
    }

    /// Who is calling, with the name that its program told.
    pub(super) fn actor(&self, context: &RequestContext<RoleServer>) -> Result<Actor, ErrorData> {
        let mut actor = match &self.0.caller {
            Caller::Fixed(actor) => actor.clone(),
            Caller::OfRequest => context
                .extensions
                .get::<http::request::Parts>()
                .and_then(|parts| parts.extensions.get::<Actor>())
                .cloned()
                .ok_or_else(|| answer::error(&answer::own(unauthenticated())))?,
        };
        if let Some(client) = context.client_info() {
            actor.client = client
                .name
                .chars()
                .filter(|c| !c.is_control())
                .take(CLIENT_MAX)
                .collect();
        }
        Ok(actor)
    }
}

/// What a request without an actor gets.
pub(super) fn unauthenticated() -> Refusal {
    Refusal::new(
        Code::Unauthenticated,
        "nobody is known by this request",
        "send a key as Authorization: Bearer",
    )
}

impl Direct for Handler {
    /// All that there are: what they tell in between is progress.
    fn answers_once(&self, tool: &str) -> bool {
        self.0.tools.iter().any(|offered| offered.name == tool)
    }
}

// Each method's future is small, or in a box: a request carries the room of the longest along (see `tools::call`).
impl ServerHandler for Handler {
    fn get_info(&self) -> ServerConfig {
        let capabilities = ServerCapabilities::builder()
            .enable_tools()
            .enable_resources()
            .enable_tasks()
            .build();
        ServerConfig::new(capabilities)
            .with_server_info(
                Implementation::new(env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION")).with_title("clawhand"),
            )
            .with_instructions(self.instructions())
    }

    fn get_tool(&self, name: &str) -> Option<Tool> {
        self.0.tools.iter().find(|tool| tool.name == name).cloned()
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let actor = self.actor(&context)?;
        let seen = self.0.tools.iter().filter(|tool| tools::visible(&tool.name, &actor));
        Ok(ListToolsResult::with_all_items(seen.cloned().collect()))
    }

    async fn call_tool(&self, request: CallToolRequestParams, context: RequestContext<RoleServer>) -> Called {
        let actor = self.actor(&context)?;
        let Some(tool) = self.0.tools.iter().find(|tool| tool.name == request.name) else {
            return Err(ErrorData::invalid_params("tool not found", None));
        };
        tracing::debug!(mcp.tool = %tool.name, actor.subject = %actor.subject, "tool called");
        tools::call(Call {
            control: &self.0.control,
            conversations: &self.0.conversations,
            actor: &actor,
            tool,
            arguments: request.arguments.unwrap_or_default(),
            context: &context,
        })
        .await
    }

    // The library would answer these two with empty lists; what isn't offered among the capabilities isn't there.
    async fn list_prompts(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListPromptsResult, ErrorData> {
        Err(ErrorData::method_not_found::<ListPromptsRequestMethod>())
    }

    async fn complete(
        &self,
        _: CompleteRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<CompleteResult, ErrorData> {
        Err(ErrorData::method_not_found::<CompleteRequestMethod>())
    }

    async fn list_resource_templates(
        &self,
        _: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListResourceTemplatesResult, ErrorData> {
        self.actor(&context)?;
        Ok(ListResourceTemplatesResult::with_all_items(vec![resources::template()]))
    }

    async fn read_resource(
        &self,
        request: ReadResourceRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<ReadResourceResponse, ErrorData> {
        let actor = self.actor(&context)?;
        Box::pin(resources::read(&self.0.control, &actor, &request.uri)).await
    }

    async fn get_task(
        &self,
        request: GetTaskParams,
        context: RequestContext<RoleServer>,
    ) -> Result<GetTaskResult, ErrorData> {
        let actor = self.actor(&context)?;
        let asks = executions::Asks::of(&context);
        Box::pin(executions::get(&self.0.control, &actor, request.task_id, asks)).await
    }

    async fn update_task(
        &self,
        request: UpdateTaskParams,
        context: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        let actor = self.actor(&context)?;
        Box::pin(executions::update(&self.0.control, &actor, request)).await
    }

    async fn cancel_task(
        &self,
        request: CancelTaskParams,
        context: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        let actor = self.actor(&context)?;
        Box::pin(executions::cancel(&self.0.control, &actor, request.task_id)).await
    }

    async fn on_custom_request(
        &self,
        request: CustomRequest,
        _: RequestContext<RoleServer>,
    ) -> Result<CustomResult, ErrorData> {
        Err(answer::unread(request.method, &METHODS))
    }
}
