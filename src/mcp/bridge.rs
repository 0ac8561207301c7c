//! The bridge: the tools for conversations alone, over standard input and output, as `openclaw mcp serve` has them; and
//! Claude's channel mode, in which the client is told what is said without asking.

use std::sync::Arc;

use futures_util::future::join_all;
use rmcp::model::{
    CallToolRequestParams, CompleteRequestMethod, CompleteRequestParams, CompleteResult, CustomNotification,
    CustomRequest, CustomResult, ExperimentalCapabilities, Implementation, ListPromptsRequestMethod, ListPromptsResult,
    ListResourcesRequestMethod, ListResourcesResult, ListToolsResult, PaginatedRequestParams, ServerCapabilities,
    ServerConfig, ServerNotification, Tool,
};
use rmcp::service::{NotificationContext, Peer, RequestContext};
use rmcp::{ErrorData, RoleServer, ServerHandler};
use tokio_util::sync::CancellationToken;

use super::answer::{self, Called};
use super::tools::conversations::{self, Talk};
use super::transport::{StdioError, served};
use crate::control::conversations::Conversations;
use crate::control::conversations::channel::{Channel, ClientAsks, Follower, News};
use crate::domain::Actor;

/// What every client reads first.
const INSTRUCTIONS: &str = "Conversations on the channels of OpenClaw (Telegram, Slack and others). conversations_list shows \
them; read one with messages_read, answer with messages_send, follow all of them with events_wait: pass the cursor of the \
last event that you know.";
/// What a client of the channel mode announces.
const CAPABILITIES: [&str; 2] = ["claude/channel", "claude/channel/permission"];
/// What it sends when it asks for leave.
const ASKS: &str = "notifications/claude/channel/permission_request";
/// What it is sent when somebody said something.
const SAID: &str = "notifications/claude/channel";
/// What it is sent when an owner gave leave or didn't.
const ANSWERED: &str = "notifications/claude/channel/permission";

/// Whether the client is told what is said without asking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChannelMode {
    /// It is.
    On,
    /// It asks.
    Off,
}

/// The server of the bridge. Cheap to clone.
#[derive(Clone)]
pub struct Bridge(Arc<Shared>);

struct Shared {
    conversations: Conversations,
    actor: Actor,
    tools: Vec<Tool>,
    channel: Option<Channel>,
}

impl Bridge {
    /// A bridge to these conversations in the name of `actor`.
    pub fn new(conversations: Conversations, actor: Actor, mode: ChannelMode) -> Self {
        Self(Arc::new(Shared {
            channel: (mode == ChannelMode::On).then(|| Channel::new(conversations.clone())),
            conversations,
            actor,
            tools: conversations::all(),
        }))
    }

    /// Tells `peer` what is said, for as long as it listens.
    async fn tell(&self, peer: &Peer<RoleServer>) {
        if let Some(channel) = &self.0.channel {
            let followers = channel.follow().into_iter();
            join_all(followers.map(|follower| tell_of(follower, peer))).await;
        }
        std::future::pending::<()>().await;
    }

    /// Serves a client on these pipes until it closes them or `stop` is cancelled.
    ///
    /// # Errors
    /// When the other side doesn't speak MCP.
    pub async fn serve<T, E, A>(self, pipes: T, stop: CancellationToken) -> Result<(), StdioError>
    where
        T: rmcp::transport::IntoTransport<RoleServer, E, A>,
        E: std::error::Error + Send + Sync + 'static,
    {
        let Some(running) = served(self.clone(), pipes, stop).await? else {
            return Ok(());
        };
        let peer = running.peer().clone();
        tokio::select! {
            ended = running.waiting() => ended.map(|_| ()).map_err(|error| StdioError::Died(error.to_string())),
            () = self.tell(&peer) => Ok(()),
        }
    }
}

/// Tells of one gateway.
async fn tell_of(mut follower: Follower, peer: &Peer<RoleServer>) {
    while let Some(news) = follower.next().await {
        let (method, params) = match news {
            News::Said(params) => (SAID, params),
            News::Answered(params) => (ANSWERED, params),
        };
        let notification = CustomNotification::new(method, Some(params.into_inner()));
        let told = peer
            .send_notification(ServerNotification::CustomNotification(notification))
            .await;
        if let Err(error) = told {
            tracing::warn!(%error, method, "the client was not told");
        }
    }
}

impl ServerHandler for Bridge {
    fn get_info(&self) -> ServerConfig {
        let mut capabilities = ServerCapabilities::builder().enable_tools().build();
        if self.0.channel.is_some() {
            let announced = CAPABILITIES.map(|name| (name.to_owned(), serde_json::Map::new()));
            capabilities.experimental = Some(ExperimentalCapabilities::from(announced));
        }
        let about = Implementation::new(env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION")).with_title("clawhand");
        ServerConfig::new(capabilities)
            .with_server_info(about)
            .with_instructions(INSTRUCTIONS)
    }

    fn get_tool(&self, name: &str) -> Option<Tool> {
        self.0.tools.iter().find(|tool| tool.name == name).cloned()
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        Ok(ListToolsResult::with_all_items(self.0.tools.clone()))
    }

    async fn call_tool(&self, request: CallToolRequestParams, context: RequestContext<RoleServer>) -> Called {
        let Some(tool) = self.0.tools.iter().find(|tool| tool.name == request.name) else {
            return Err(ErrorData::invalid_params("tool not found", None));
        };
        conversations::call(Talk {
            conversations: &self.0.conversations,
            actor: &self.0.actor,
            tool,
            arguments: request.arguments.unwrap_or_default(),
            context: &context,
        })
        .await
    }

    async fn on_custom_request(
        &self,
        request: CustomRequest,
        _: RequestContext<RoleServer>,
    ) -> Result<CustomResult, ErrorData> {
        Err(answer::unread(request.method, &["tools/call"]))
    }

    async fn on_custom_notification(&self, notification: CustomNotification, _: NotificationContext<RoleServer>) {
        let Some(channel) = self.0.channel.as_ref().filter(|_| notification.method == ASKS) else {
            return;
        };
        match notification.params_as::<ClientAsks>() {
            Ok(Some(asks)) => channel.ask(asks),
            Ok(None) | Err(_) => tracing::warn!("a client asked for leave without saying for what"),
        }
    }

    // The library would answer these with empty lists; what isn't offered among the capabilities isn't there.
    async fn list_prompts(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListPromptsResult, ErrorData> {
        Err(ErrorData::method_not_found::<ListPromptsRequestMethod>())
    }

    async fn list_resources(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListResourcesResult, ErrorData> {
        Err(ErrorData::method_not_found::<ListResourcesRequestMethod>())
    }

    async fn complete(
        &self,
        _: CompleteRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<CompleteResult, ErrorData> {
        Err(ErrorData::method_not_found::<CompleteRequestMethod>())
    }
}
