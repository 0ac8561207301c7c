//! One plan for a group, made of a plan for each member. Its digest covers them all, so that an approval says yes to
//! exactly what runs on each.

use super::Planned;
use super::plan::may;
use crate::domain::plan::{GroupPlan, Need, Plan, Risk};
use crate::domain::target::{ApprovalRule, GroupBlock};
use crate::domain::task::TaskSpec;
use crate::domain::{Refusal, Target};

/// Refuses what the group itself doesn't take, and more members than `max`.
///
/// # Errors
/// When it is refused.
pub fn may_fan_out(task: &TaskSpec, target: &Target, group: &GroupBlock, max: u32) -> Result<(), Refusal> {
    may(task, target)?;
    let many = group.members.len();
    if many > max as usize {
        return Err(Refusal::new(
            crate::domain::Code::NotAllowed,
            format!(
                "the group {} has {many} members; at most {max} are allowed",
                target.name
            ),
            "the operator makes smaller groups, or raises limits.max_group_members",
        ));
    }
    Ok(())
}

/// A refusal of a member, with its name.
pub fn refused_by(member: &str, refusal: Refusal) -> Refusal {
    Refusal {
        message: format!("on the member {member}: {}", refusal.message),
        ..refusal
    }
}

/// The plan of the group from what was planned for each member, in their order.
pub fn plan_group(task: &TaskSpec, target: &Target, group: &GroupBlock, members: Vec<Planned>) -> Planned {
    let approvals = approvals(task, target, &members);
    let needs = needs(group, &members);
    let plans: Option<Vec<Plan>> = members.into_iter().map(|member| member.plan).collect();
    let plan = plans
        .filter(|_| needs.is_empty())
        .map(|plans| assemble(task, target, group, plans, &approvals));
    Planned { plan, needs, approvals }
}

/// Whom a person is asked for: the group, the members, or both.
fn approvals(task: &TaskSpec, target: &Target, members: &[Planned]) -> Vec<String> {
    let intent = &task.execution_intent;
    let own = (target.approval_for(intent) == ApprovalRule::Always)
        .then(|| format!("a person must allow each {intent} on {}", target.name));
    let theirs = members.iter().flat_map(|member| member.approvals.iter().cloned());
    own.into_iter().chain(theirs).collect()
}

/// What members lack; the same of several is told once, with their names.
fn needs(group: &GroupBlock, members: &[Planned]) -> Vec<Need> {
    let mut told: Vec<(Need, Vec<&str>)> = Vec::new();
    for (name, member) in group.members.iter().zip(members) {
        for need in &member.needs {
            match told.iter_mut().find(|(known, _)| known == need) {
                Some((_, names)) => names.push(name),
                None => told.push((need.clone(), vec![name])),
            }
        }
    }
    told.into_iter()
        .map(|(need, names)| Need {
            message: format!("on {}: {}", names.join(", "), need.message),
            ..need
        })
        .collect()
}

fn assemble(task: &TaskSpec, target: &Target, group: &GroupBlock, mut members: Vec<Plan>, asked: &[String]) -> Plan {
    let approval = (!asked.is_empty()).then(|| asked.join("; "));
    let mut recipes: Vec<&str> = members.iter().map(|plan| plan.recipe.as_str()).collect();
    recipes.dedup();
    let recipe = recipes.join(", ");
    let explanation = explanation(target, group, &members, approval.as_deref());
    // A yes to the group is a yes to each member as it is now: then each is held to that.
    for plan in members.iter_mut().filter(|_| approval.is_some()) {
        plan.approval.get_or_insert_with(|| asked.join("; "));
    }
    Plan {
        target: target.name.clone(),
        intent: task.execution_intent.clone(),
        recipe,
        variant: String::new(),
        steps: Vec::new(),
        outputs: Vec::new(),
        inputs: members.first().map(|plan| plan.inputs.clone()).unwrap_or_default(),
        binding: None,
        risk: members.iter().map(|plan| plan.risk).max().unwrap_or(Risk::Low),
        approval,
        group: Some(GroupPlan {
            at_once: group.at_once,
            max_failures: group.max_failures,
            members,
        }),
        explanation,
    }
}

fn explanation(target: &Target, group: &GroupBlock, members: &[Plan], approval: Option<&str>) -> String {
    let mut lines = vec![format!(
        "Where: {}, a group: {}; {}.",
        target.name,
        group.members.join(", "),
        pace(group)
    )];
    for plan in members {
        lines.push(format!("On {}:", plan.target));
        let said = plan.explanation.lines();
        let about_work = said.filter(|line| !line.starts_with("Where: ") && !line.starts_with("Approval: "));
        lines.extend(about_work.map(|line| format!("  {line}")));
    }
    lines.push(match approval {
        Some(asked) => format!("Approval: {asked}, because the operator of the targets says so."),
        None => "Approval: nobody is asked first.".to_owned(),
    });
    lines.join("\n")
}

fn pace(group: &GroupBlock) -> String {
    let pace = match group.at_once {
        1 => "one after another".to_owned(),
        many => format!("{many} at a time"),
    };
    match group.max_failures {
        0 => format!("{pace}, and none begins after a failure"),
        many => format!("{pace}, and none begins after more than {many} failures"),
    }
}
