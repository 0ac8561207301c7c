//! `clawhand doctor`: checks each part that the installation needs, and says what to do about what doesn't work.

use clap::Args;

use super::{exit, output};
use crate::app::{self, Home};
use crate::config::{Config, Environment};
use crate::control::Control;
use crate::control::contract::conversations::{ConversationsList, PermissionsListOpen};
use crate::control::contract::openclaw::OpenclawStatus;
use crate::domain::{Actor, Refusal};
use crate::gateway::http::State;
use crate::lifecycle::Lifecycle;

/// Arguments of `doctor`.
#[derive(Debug, Args)]
pub struct DoctorArguments {
    /// As JSON.
    #[arg(long)]
    pub json: bool,
}

/// What was found of one part.
#[derive(Debug, serde::Serialize)]
struct Finding {
    part: String,
    ok: bool,
    message: String,
}

impl Finding {
    fn good(part: &str, message: impl Into<String>) -> Self {
        Self {
            part: part.into(),
            ok: true,
            message: message.into(),
        }
    }

    fn bad(part: &str, message: impl Into<String>) -> Self {
        Self {
            part: part.into(),
            ok: false,
            message: message.into(),
        }
    }
}

pub(super) async fn execute(
    arguments: &DoctorArguments,
    config: Config,
    environment: &Environment,
) -> anyhow::Result<u8> {
    let mut findings = vec![Finding::good("configuration", "can be used")];
    findings.push(match app::open_inventory(&config.targets, Vec::new()) {
        Ok(inventory) => {
            let count = inventory.snapshot().targets.len();
            Finding::good("targets", format!("{count} in {}", config.targets.display()))
        }
        Err(error) => Finding::bad("targets", format!("{error:#}")),
    });
    match Home::open(config, environment, Lifecycle::new()).await {
        Ok(home) => findings.extend(of_home(&home).await),
        Err(error) => findings.push(Finding::bad("installation", format!("{error:#}"))),
    }
    let sound = findings.iter().all(|finding| finding.ok);
    if arguments.json {
        output::json(&findings)?;
    } else {
        for finding in &findings {
            let mark = if finding.ok {
                output::styled(output::GOOD, "ok  ")
            } else {
                output::styled(output::BAD, "FAIL")
            };
            output::text(&format!("{mark} {}: {}\n", finding.part, finding.message));
        }
    }
    Ok(if sound { exit::SUCCEEDED } else { exit::REFUSED })
}

async fn of_home(home: &Home) -> Vec<Finding> {
    let mut findings = Vec::new();
    findings.push(match home.store.schema_version().await {
        Ok(version) => Finding::good("database", format!("reachable, at version {}", version.unwrap_or(0))),
        Err(error) => Finding::bad("database", error.to_string()),
    });
    let control = home.control(None);
    findings.push(match control.check_blobs().await {
        Ok(()) => Finding::good("artifacts", "can be written and read"),
        Err(refusal) => Finding::bad("artifacts", text(&refusal)),
    });
    for target in &home.inventory.snapshot().targets {
        let part = format!("target {}", target.name);
        if target.disabled {
            findings.push(Finding::good(&part, "switched off"));
            continue;
        }
        if let Some(group) = target.group() {
            findings.push(Finding::good(&part, format!("a group of {}", group.members.join(", "))));
            continue;
        }
        findings.push(match control.diagnose(target).await {
            Ok(Ok(facts)) => {
                let isolation = if facts.isolation.is_empty() {
                    "no".into()
                } else {
                    facts.isolation.join(", ")
                };
                Finding::good(&part, format!("{} tools, {isolation} isolation", facts.tools.len()))
            }
            Ok(Err(trouble)) => Finding::bad(&part, format!("{}: {}", trouble.what, trouble.hint)),
            Err(refusal) => Finding::bad(&part, text(&refusal)),
        });
    }
    findings.extend(of_gateways(home, &control).await);
    findings
}

async fn of_gateways(home: &Home, control: &Control) -> Vec<Finding> {
    let mut findings = Vec::new();
    let operator = Actor::operator();
    let conversations = control.conversations();
    for table in &home.config.gateway {
        let part = format!("gateway {}", table.name);
        let instance = Some(table.name.to_string());
        let asked = OpenclawStatus {
            instance: instance.clone(),
        };
        let health = control.openclaw_status(&operator, asked).await;
        // The one refusal after which the other connection would only say the same.
        let is_there = !matches!(&health, Ok(health) if health["state"] == State::Unreachable.as_str());
        findings.push(match health {
            Ok(health) => Finding {
                ok: health["status"] == "ok",
                message: health["message"].as_str().unwrap_or_default().to_owned(),
                part: part.clone(),
            },
            Err(refusal) => Finding::bad(&part, text(&refusal)),
        });
        if !is_there {
            continue;
        }
        let part = format!("{part}, WebSocket");
        let asked = ConversationsList {
            instance: instance.clone(),
            limit: Some(1),
            ..ConversationsList::default()
        };
        let listed = conversations.list(&operator, asked).await;
        let listed = match listed {
            // What was asked for in the configuration and is not granted is found out now, not when an agent waits.
            Ok(_) if table.admin => {
                let asked = PermissionsListOpen {
                    instance,
                    ..PermissionsListOpen::default()
                };
                conversations.open_approvals(&operator, asked).await
            }
            listed => listed,
        };
        findings.push(match listed {
            Ok(_) if table.admin => Finding::good(&part, "conversations and approvals can be read"),
            Ok(_) => Finding::good(&part, "conversations can be read"),
            Err(refusal) => Finding::bad(&part, text(&refusal)),
        });
    }
    findings
}

fn text(refusal: &Refusal) -> String {
    format!("{}: {}", refusal.message, refusal.hint)
}
