//! What waits for a person at a gateway, and who may answer it.

use serde_json::Value;

use super::super::contract::conversations::{
    OpenApproval, OpenApprovals, PermissionAnswered, PermissionDecision, PermissionKind, PermissionsListOpen,
    PermissionsRespond,
};
use super::super::openclaw::bounds;
use super::super::{Answer, require};
use super::{AGAIN, Conversations, PATIENCE, failed};
use crate::domain::{Actor, Code, Door, Refusal, Scope};
use crate::gateway::socket::State;
use crate::gateway::wire::{ApprovalKind, ApprovalResolve, Decision, Scope as GatewayScope};
use crate::gateway::{Gateway, Instance};

/// What to do when it isn't known whether an answer arrived.
const MAYBE_ANSWERED: &str = "permissions_list_open tells whether it is still open";
/// What the operator does to have approvals shown.
const ASK_FOR_ADMIN: &str = "the operator sets admin = true for this gateway in clawhand's configuration, or starts \
                             `clawhand mcp serve` with --admin";

impl Conversations {
    /// The approvals that wait at a gateway.
    pub async fn open_approvals(&self, actor: &Actor, arguments: PermissionsListOpen) -> Answer {
        self.answer(self.open(actor, &arguments).await)
    }

    async fn open(&self, actor: &Actor, arguments: &PermissionsListOpen) -> Result<OpenApprovals, Refusal> {
        if !actor.has(Scope::Approve) {
            require(actor, Scope::Openclaw)?;
        }
        let session = bounds::optional("session_key", arguments.session_key.as_deref())?;
        let gateway = self.gateway(arguments.instance.as_deref())?;
        let open = gateway.feed().open_approvals(PATIENCE).await;
        let open = open.map_err(|error| failed(gateway, error, AGAIN))?;
        let is_wanted = |request: &Value| session.is_none_or(|session| request["sessionKey"] == session);
        let approvals = open.approvals.into_iter().map(|(kind, approval)| OpenApproval {
            kind: kind.as_str().to_owned(),
            id: approval.id,
            request: approval.request,
            created_at_ms: approval.created_at_ms,
            expires_at_ms: approval.expires_at_ms,
        });
        let approvals: Vec<_> = approvals.filter(|approval| is_wanted(&approval.request)).collect();
        match open.lacks {
            // An empty list would be read as "nothing waits".
            Some(scope) if approvals.is_empty() => Err(hidden(gateway, scope)),
            lacks => Ok(OpenApprovals {
                approvals,
                missing_scope: lacks.map(|scope| scope.as_str().to_owned()),
            }),
        }
    }

    /// Answers one of them. The model that asked can never be the one that allows it.
    pub async fn respond(&self, actor: &Actor, arguments: PermissionsRespond) -> Answer {
        self.answer(self.responded(actor, &arguments).await)
    }

    async fn responded(&self, actor: &Actor, arguments: &PermissionsRespond) -> Result<PermissionAnswered, Refusal> {
        if !actor.has(Scope::Approve) {
            require(actor, Scope::Openclaw)?;
        }
        let id = bounds::key("id", &arguments.id)?;
        let gateway = self.gateway(arguments.instance.as_deref())?;
        may_answer(actor, gateway.instance(), arguments.decision)?;
        let answer = ApprovalResolve {
            id: id.to_owned(),
            decision: match arguments.decision {
                PermissionDecision::AllowOnce => Decision::AllowOnce,
                PermissionDecision::AllowAlways => Decision::AllowAlways,
                PermissionDecision::Deny => Decision::Deny,
            },
        };
        let kind = match arguments.kind {
            PermissionKind::Exec => ApprovalKind::Exec,
            PermissionKind::Plugin => ApprovalKind::Plugin,
        };
        let result = gateway
            .socket()
            .call(kind.resolve(), &answer, PATIENCE)
            .await
            .map_err(|error| {
                let is_hidden = error.code.as_deref() == Some("APPROVAL_NOT_FOUND") && lacks_admin(gateway);
                let refusal = failed(gateway, error, MAYBE_ANSWERED);
                match is_hidden {
                    true => Refusal {
                        hint: format!(
                            "the connection lacks {}, without which approvals that others asked for can't be answered: \
                         {ASK_FOR_ADMIN}",
                            GatewayScope::Admin
                        ),
                        ..refusal
                    },
                    false => refusal,
                }
            })?;
        tracing::info!(
            instance = gateway.instance().name.as_str(),
            approval.id = id,
            actor.subject = %actor.subject,
            decision = answer.decision.as_str(),
            "an approval of an OpenClaw gateway was answered"
        );
        Ok(PermissionAnswered { result })
    }
}

/// Whose run an approval belongs to, no gateway tells: whoever may talk to its agents may be the one that asked. So those
/// who allow are others, unless the operator says otherwise in writing. Saying no harms nobody.
fn may_answer(actor: &Actor, instance: &Instance, decision: PermissionDecision) -> Result<(), Refusal> {
    let is_operator = actor.door == Door::Cli && actor.has(Scope::Operator);
    if is_operator || instance.self_approval {
        return Ok(());
    }
    if !actor.has(Scope::Approve) {
        return Err(Refusal::new(
            Code::NotAllowed,
            "who may talk to the agents of a gateway can't answer their approvals",
            "a person answers: with a key that has the scope `approve`, or at the gateway itself; or the operator sets \
             self_approval = true for this gateway",
        ));
    }
    if actor.has(Scope::Openclaw) && decision != PermissionDecision::Deny {
        return Err(Refusal::new(
            Code::NotAllowed,
            "this key may talk to the agents of the gateway, so it may have asked for what it would allow; it can only deny",
            "allow it with a key that has the scope `approve` and not `openclaw`; or the operator sets self_approval = \
             true for this gateway",
        ));
    }
    Ok(())
}

fn lacks_admin(gateway: &Gateway) -> bool {
    matches!(gateway.socket().state(), State::Ready(hello) if !hello.may(GatewayScope::Admin))
}

fn hidden(gateway: &Gateway, scope: GatewayScope) -> Refusal {
    let instance = gateway.instance();
    let hint = match instance.admin {
        true => "the gateway didn't grant it: its operator has to approve this device for it",
        false => ASK_FOR_ADMIN,
    };
    Refusal::new(
        Code::GatewayRefused,
        format!(
            "the connection to {} lacks the scope {scope}, without which the gateway doesn't show approvals that others \
             asked for: whether one waits isn't known",
            instance.name
        ),
        hint,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::{Address, Name};

    #[test]
    fn who_may_have_asked_cannot_allow() {
        use PermissionDecision::{AllowAlways, AllowOnce, Deny};
        let mut instance = Instance::new(
            Name::parse("lab").expect("a name"),
            Address::parse("http://gw.example").expect("an address"),
        );
        let key = |scopes: &[Scope]| Actor {
            door: Door::Http,
            scopes: scopes.to_vec(),
            ..Actor::local_model("test")
        };
        let may = |actor: &Actor, instance: &Instance| {
            [AllowOnce, AllowAlways, Deny].map(|decision| may_answer(actor, instance, decision).is_ok())
        };
        let talks = key(&[Scope::Openclaw]);
        let both = key(&[Scope::Openclaw, Scope::Approve]);
        assert_eq!(may(&talks, &instance), [false; 3]);
        assert_eq!(may(&Actor::local_model("stdio"), &instance), [false; 3]);
        assert_eq!(may(&both, &instance), [false, false, true]);
        assert_eq!(may(&key(&[Scope::Approve]), &instance), [true; 3]);
        assert_eq!(may(&Actor::operator(), &instance), [true; 3]);
        let posing = key(&[Scope::Openclaw, Scope::Operator]);
        assert_eq!(may(&posing, &instance), [false; 3], "the operator is at the machine");
        instance.self_approval = true;
        assert_eq!(may(&talks, &instance), [true; 3]);
    }
}
