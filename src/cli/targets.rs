//! `clawhand targets`: check, list, explain, probe.

use clap::Subcommand;

use super::exit;
use super::output::{self, Form};
use crate::app::Home;
use crate::config::Config;
use crate::control::contract::{ListTargets, TargetList};
use crate::domain::{Actor, Facts};
use crate::executors::Trouble;
use crate::inventory;
use crate::planner;

/// What to do with targets.
#[derive(Debug, Subcommand)]
pub enum TargetsCommand {
    /// Check every target and recipe file; each mistake with its position and a hint.
    Check,
    /// List the targets as callers see them.
    List {
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Say which target a reference means, and why not the others.
    Explain {
        /// What a caller would write as target_ref.
        reference: String,
    },
    /// Learn what a target offers, now.
    Probe {
        /// Its name.
        name: String,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
}

/// Works without a database, so that files can be checked anywhere.
pub(super) fn check(config: &Config) -> u8 {
    match inventory::load(&config.targets) {
        Ok(snapshot) => {
            output::text(&format!(
                "{} targets and {} recipes, no mistakes\n",
                snapshot.targets.len(),
                snapshot.recipes.len()
            ));
            exit::SUCCEEDED
        }
        Err(problems) => {
            for problem in &problems {
                output::text(&format!("{problem}\n"));
            }
            output::note(&format!("{} mistakes", problems.len()));
            exit::REFUSED
        }
    }
}

pub(super) async fn execute(command: TargetsCommand, home: &Home) -> anyhow::Result<u8> {
    match command {
        TargetsCommand::Check => Ok(check(&home.config)),
        TargetsCommand::List { json } => {
            let answer = home
                .control(None)
                .list_targets(&Actor::operator(), ListTargets::default())
                .await;
            output::answer(Form::of(json), answer, |list: TargetList| show_list(&list))
        }
        TargetsCommand::Explain { reference } => Ok(explain(home, &reference)),
        TargetsCommand::Probe { name, json } => probe(home, &name, Form::of(json)).await,
    }
}

fn show_list(list: &TargetList) {
    let rows: Vec<Vec<String>> = list
        .targets
        .iter()
        .map(|target| {
            let labels: Vec<_> = target
                .labels
                .iter()
                .map(|(key, value)| format!("{key}={value}"))
                .collect();
            let ready = if target.ready { "yes" } else { "no" };
            vec![
                target.name.clone(),
                ready.into(),
                labels.join(","),
                target.intents.join(","),
                target.description.clone(),
            ]
        })
        .collect();
    output::table(&["TARGET", "READY", "LABELS", "INTENTS", "DESCRIPTION"], &rows);
}

fn explain(home: &Home, reference: &str) -> u8 {
    let snapshot = home.inventory.snapshot();
    let resolved = planner::resolve(reference, &snapshot.targets);
    for considered in planner::explain(reference, &snapshot.targets) {
        let mark = if considered.chosen {
            output::styled(output::GOOD, "this one")
        } else {
            output::styled(output::DIM, "not")
        };
        output::text(&format!("{mark} {}: {}\n", considered.target, considered.why));
    }
    match resolved {
        Ok(_) => exit::SUCCEEDED,
        Err(refusal) => output::refusal(&home.control(None).rules().refusal(refusal)),
    }
}

async fn probe(home: &Home, name: &str, form: Form) -> anyhow::Result<u8> {
    let control = home.control(None);
    let snapshot = home.inventory.snapshot();
    let probed = match planner::resolve(name, &snapshot.targets) {
        Ok(resolved) => control.diagnose(resolved.target).await,
        Err(refusal) => Err(refusal),
    };
    match (probed, form) {
        (Ok(Ok(facts)), Form::Json) => output::json(&facts).map(|()| exit::SUCCEEDED),
        (Ok(Ok(facts)), Form::Text) => {
            show_facts(&facts);
            Ok(exit::SUCCEEDED)
        }
        // Not scrubbed: it is the operator's own target, and what is wrong is the point.
        (Ok(Err(Trouble { what, hint })), _) => {
            output::error(&anyhow::anyhow!("{what}\nhint: {hint}"));
            Ok(exit::REFUSED)
        }
        (Err(refusal), _) => Ok(output::refusal(&control.rules().refusal(refusal))),
    }
}

fn show_facts(facts: &Facts) {
    output::text(&format!("system: {} {}\n", facts.os, facts.arch));
    let isolation = if facts.isolation.is_empty() {
        "none".into()
    } else {
        facts.isolation.join(", ")
    };
    output::text(&format!("isolation: {isolation}\n"));
    let rows: Vec<Vec<String>> = facts
        .tools
        .iter()
        .map(|(name, tool)| vec![name.clone(), tool.version.clone()])
        .collect();
    output::table(&["TOOL", "VERSION"], &rows);
}
