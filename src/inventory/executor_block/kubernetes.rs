//! `kind = "kubernetes"`: a namespace of a cluster.

use super::check_absolute;
use crate::domain::target::{ExecutorBlock, KubernetesBlock, Resources, Toleration};
use crate::inventory::fields::{At, Section};
use crate::inventory::target_file::duration;
use crate::inventory::words;

pub(super) fn read(section: &Section<'_, '_>) -> ExecutorBlock {
    let defaults = KubernetesBlock::default();
    let kubeconfig = section.text("kubeconfig");
    let path = section.text("path");
    let absolute = kubeconfig.iter().map(|text| At {
        value: text.value.as_str(),
        at: text.at,
    });
    let entries = path
        .iter()
        .flat_map(|path| path.value.split(':').map(|value| At { value, at: path.at }));
    check_absolute(section, absolute.chain(entries));
    let text = |key| section.text(key).map(|text: At<String>| text.value);
    let block = KubernetesBlock {
        kubeconfig: kubeconfig.map(|text| text.value),
        context: text("context"),
        namespace: name(section, section.required("namespace", "\"builds\"")).unwrap_or_default(),
        service_account: name(section, section.text("service_account")),
        service_account_token: section.flag("service_account_token").unwrap_or(false),
        image: section
            .required("image", "\"registry.example/tools:1\"")
            .map(|text| text.value)
            .unwrap_or_default(),
        helper_image: text("helper_image"),
        pull_policy: one_of(section, "pull_policy", &["Always", "IfNotPresent", "Never"]),
        image_pull_secrets: words::plain(section.texts("image_pull_secrets")),
        resources: Resources {
            cpu: quantity(section, "cpu", "\"500m\""),
            cpu_limit: quantity(section, "cpu_limit", "\"2\""),
            memory: quantity(section, "memory", "\"256Mi\""),
            memory_limit: quantity(section, "memory_limit", "\"1Gi\""),
        },
        node_selector: section
            .entries("node_selector")
            .iter()
            .filter_map(|entry| Some((entry.key.value.clone(), entry.text()?.value)))
            .collect(),
        tolerations: section.tables("tolerations").into_iter().map(toleration).collect(),
        user: user(section).unwrap_or(defaults.user),
        path: path.map(|text| text.value),
        workspace_size: quantity(section, "workspace_size", "\"10Gi\""),
        start_timeout: duration(section, "start_timeout").unwrap_or(defaults.start_timeout),
        keep: duration(section, "keep").unwrap_or(defaults.keep),
        pod: section.json_table("pod").unwrap_or_default(),
    };
    if block.context.is_some() && block.kubeconfig.is_none() {
        section.source().problem(
            section.at(),
            "context is of no use without kubeconfig",
            "name the kubeconfig, or remove context",
        );
    }
    ExecutorBlock::Kubernetes(Box::new(block))
}

/// What the cluster takes as a name.
fn name(section: &Section<'_, '_>, text: Option<At<String>>) -> Option<String> {
    let text = text?;
    if !words::is_name(&text.value) {
        section.source().problem(
            text.at,
            format!("'{}' can't be a name in a cluster", text.value),
            "use lower-case letters, digits and '-', at most 63 characters",
        );
    }
    Some(text.value)
}

fn one_of(section: &Section<'_, '_>, key: &'static str, known: &[&str]) -> Option<String> {
    let text = section.text(key)?;
    if !known.contains(&text.value.as_str()) {
        section.source().problem(
            text.at,
            format!("'{}' is no {key}", text.value),
            format!("use one of {}", known.join(", ")),
        );
    }
    Some(text.value)
}

/// A quantity in the cluster's own notation.
fn quantity(section: &Section<'_, '_>, key: &'static str, example: &str) -> Option<String> {
    let text = section.text(key)?;
    let digits = text.value.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = &text.value[digits.len()..];
    let is_number = digits.parse::<f64>().is_ok_and(|number| number > 0.0) && !digits.contains(['+', '-']);
    let units = ["", "m", "k", "M", "G", "T", "Ki", "Mi", "Gi", "Ti"];
    if !is_number || !units.contains(&unit) {
        let message = format!("'{}' is no quantity of {key}", text.value);
        section.source().problem(
            text.at,
            message,
            format!("write it as Kubernetes does, such as {example}"),
        );
    }
    Some(text.value)
}

fn user(section: &Section<'_, '_>) -> Option<i64> {
    let number = section.number("user")?;
    if !(1..=i64::from(i32::MAX)).contains(&number.value) {
        section.source().problem(
            number.at,
            format!("steps can't run as the user {}", number.value),
            "steps never run as root; use a number from 1 on",
        );
    }
    Some(number.value)
}

fn toleration(section: Section<'_, '_>) -> Toleration {
    let text = |key| section.text(key).map(|text: At<String>| text.value);
    let toleration = Toleration {
        key: text("key"),
        operator: one_of(&section, "operator", &["Equal", "Exists"]),
        value: text("value"),
        effect: one_of(&section, "effect", &["NoSchedule", "PreferNoSchedule", "NoExecute"]),
    };
    section.close();
    toleration
}
