//! What a container looks like when it is made: the fences around a step, and the labels it is known by.

use std::collections::HashMap;

use bollard::models::{
    ContainerCreateBody, HealthConfig, HostConfig, HostConfigCgroupnsModeEnum, HostConfigLogConfig, Mount, MountType,
    RestartPolicy, RestartPolicyNameEnum,
};

use crate::domain::target::DockerBlock;
use crate::domain::{AttemptId, ExecutionId};
use crate::executors::contract::StartAttempt;

/// Where the volume of an execution is mounted.
pub(super) const ROOT: &str = "/clawhand";
/// The workspace in it.
pub(super) const WORK: &str = "/clawhand/work";

/// On everything that is ours: whose it is.
pub(super) const EXECUTION: &str = "io.clawhand.execution";
/// On the container of an attempt.
pub(super) const ATTEMPT: &str = "io.clawhand.attempt";
/// On what a probe made.
pub(super) const PROBE: &str = "io.clawhand.probe";

/// Processes of a container beside those of the step: the init, the supervisor and what passes output on.
const SUPERVISOR_PROCESSES: u64 = 32;
/// What a container without a limit of its own may have, so that a fork bomb ends with it.
const PROCESSES: u64 = 4096;

pub(super) fn volume_name(execution: ExecutionId) -> String {
    format!("clawhand-{execution}")
}

/// The execution of a volume.
pub(super) fn execution_of(volume: &str) -> Option<ExecutionId> {
    volume.strip_prefix("clawhand-")?.parse().ok()
}

/// The container that is never started: through it files come and go.
pub(super) fn holder_name(execution: ExecutionId) -> String {
    format!("clawhand-{execution}-files")
}

pub(super) fn attempt_name(attempt: AttemptId) -> String {
    format!("clawhand-{attempt}")
}

/// The labels of what belongs to an execution.
pub(super) fn labels(execution: ExecutionId, more: &[(&str, String)]) -> HashMap<String, String> {
    let own = (EXECUTION.to_owned(), execution.to_string());
    let more = more.iter().map(|(name, value)| ((*name).to_owned(), value.clone()));
    std::iter::once(own).chain(more).collect()
}

/// The holder: it only has to have the volume.
pub(super) fn holder(
    block: &DockerBlock,
    execution: ExecutionId,
    labels: HashMap<String, String>,
) -> ContainerCreateBody {
    ContainerCreateBody {
        image: Some(block.image.clone()),
        entrypoint: Some(vec!["/bin/sh".to_owned()]),
        network_disabled: Some(true),
        labels: Some(labels),
        host_config: Some(HostConfig {
            mounts: Some(vec![volume(execution)]),
            network_mode: Some("none".to_owned()),
            readonly_rootfs: Some(true),
            ..HostConfig::default()
        }),
        ..ContainerCreateBody::default()
    }
}

/// The container of an attempt, with the program that it runs.
pub(super) fn attempt(
    block: &DockerBlock,
    execution: ExecutionId,
    start: &StartAttempt,
    entrypoint: Vec<String>,
    labels: HashMap<String, String>,
) -> ContainerCreateBody {
    let (user, group) = block.user;
    ContainerCreateBody {
        image: Some(block.image.clone()),
        // A constant one: the default is a part of the container's id, which a step would print.
        hostname: Some("workspace".to_owned()),
        user: Some(format!("{user}:{group}")),
        entrypoint: Some(entrypoint),
        cmd: Some(Vec::new()),
        working_dir: Some("/".to_owned()),
        attach_stdin: Some(true),
        open_stdin: Some(true),
        stdin_once: Some(true),
        tty: Some(false),
        healthcheck: Some(HealthConfig {
            test: Some(vec!["NONE".to_owned()]),
            ..HealthConfig::default()
        }),
        // Only clawhand sends TERM, which is how a step is cancelled. Whoever else stops the container, the daemon on
        // its way down among them, ends it without a note of its end: so it is told as lost, and not as cancelled.
        stop_signal: Some("SIGKILL".to_owned()),
        labels: Some(labels),
        host_config: Some(fences(block, execution, start)),
        ..ContainerCreateBody::default()
    }
}

fn fences(block: &DockerBlock, execution: ExecutionId, start: &StartAttempt) -> HostConfig {
    let memory = start.limits.max_memory_bytes.map(whole);
    let processes = start.limits.max_processes.unwrap_or(PROCESSES) + SUPERVISOR_PROCESSES;
    let tmp = format!("rw,exec,nosuid,nodev,mode=1777,size={}", block.tmp_bytes);
    HostConfig {
        mounts: Some(vec![volume(execution)]),
        tmpfs: Some(HashMap::from([("/tmp".to_owned(), tmp)])),
        readonly_rootfs: Some(true),
        network_mode: Some(block.network.clone().unwrap_or_else(|| "none".to_owned())),
        cap_drop: Some(vec!["ALL".to_owned()]),
        security_opt: Some(vec!["no-new-privileges:true".to_owned()]),
        init: Some(true),
        pids_limit: Some(whole(processes)),
        memory,
        // The same as memory: no swap.
        memory_swap: memory,
        nano_cpus: block.cpus_milli.map(|milli| i64::from(milli) * 1_000_000),
        ipc_mode: Some("private".to_owned()),
        cgroupns_mode: Some(HostConfigCgroupnsModeEnum::PRIVATE),
        // The output is in a file of the volume; a log would only be a second one.
        log_config: Some(HostConfigLogConfig {
            typ: Some("none".to_owned()),
            config: None,
        }),
        restart_policy: Some(RestartPolicy {
            name: Some(RestartPolicyNameEnum::NO),
            ..RestartPolicy::default()
        }),
        auto_remove: Some(false),
        runtime: block.runtime.clone(),
        ..HostConfig::default()
    }
}

fn volume(execution: ExecutionId) -> Mount {
    Mount {
        target: Some(ROOT.to_owned()),
        source: Some(volume_name(execution)),
        typ: Some(MountType::VOLUME),
        ..Mount::default()
    }
}

fn whole(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
