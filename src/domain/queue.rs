//! Who is next: how much may run at once, and in which order the queue is served.
//!
//! Fair to owners: whose executions run least comes first, and among equals who waits longest. So a thousand of one
//! owner hold up nobody's first one, and an owner that is alone gets everything.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::ExecutionId;

/// How many executions may run at once, over all workers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AtOnce {
    /// Of one owner; nothing is no limit.
    pub per_owner: Option<u32>,
    /// On each target, by its name. One that isn't named here has no limit.
    pub per_target: BTreeMap<String, u32>,
}

/// What is driven now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Running {
    by_owner: BTreeMap<String, u32>,
    by_target: BTreeMap<String, u32>,
}

/// The next of those that wait of one owner for one target: the oldest of the highest priority.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// Its id, which grows with the time it was made.
    pub id: ExecutionId,
    /// Whose it is.
    pub owner: String,
    /// Where it is to run.
    pub target: String,
    /// Among those of its owner, higher ones come first.
    pub priority: i64,
}

/// What a queued execution waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WaitsFor {
    /// Its turn, and a worker with room.
    Turn,
    /// Its target runs as many as it may.
    Target,
    /// Its owner runs as many as one owner may.
    Owner,
}

/// Where a queued execution stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// How many come before it of those that wait for the same, by the order of now.
    pub before: u64,
    /// What it waits for.
    pub waits_for: WaitsFor,
}

impl Running {
    /// Counts `many` more of an owner on a target.
    pub fn add(&mut self, owner: &str, target: &str, many: u32) {
        for (counts, name) in [(&mut self.by_owner, owner), (&mut self.by_target, target)] {
            let count = counts.entry(name.to_owned()).or_default();
            *count = count.saturating_add(many);
        }
    }

    /// Counts `many` executions of groups on a target. They only wait for their members, which count for the owner.
    pub fn add_groups(&mut self, target: &str, many: u32) {
        let count = self.by_target.entry(target.to_owned()).or_default();
        *count = count.saturating_add(many);
    }

    /// How many of an owner.
    pub fn of_owner(&self, owner: &str) -> u32 {
        self.by_owner.get(owner).copied().unwrap_or(0)
    }

    /// How many on a target.
    pub fn on_target(&self, target: &str) -> u32 {
        self.by_target.get(target).copied().unwrap_or(0)
    }
}

impl AtOnce {
    /// Whether nothing new of the owner may begin.
    pub fn is_full_for_owner(&self, running: &Running, owner: &str) -> bool {
        self.per_owner.is_some_and(|limit| running.of_owner(owner) >= limit)
    }

    /// Whether nothing new may begin on the target.
    pub fn is_full_on_target(&self, running: &Running, target: &str) -> bool {
        let limit = self.per_target.get(target);
        limit.is_some_and(|limit| running.on_target(target) >= *limit)
    }

    /// The targets on which nothing new may begin.
    pub fn full_targets(&self, running: &Running) -> Vec<String> {
        let full = |name: &&String| self.is_full_on_target(running, name);
        self.per_target.keys().filter(full).cloned().collect()
    }

    /// Those of `heads` that may begin, in the order in which they get their turn.
    pub fn in_turn(&self, mut heads: Vec<Head>, running: &Running) -> Vec<Head> {
        heads.retain(|head| {
            !self.is_full_for_owner(running, &head.owner) && !self.is_full_on_target(running, &head.target)
        });
        // Since when each owner waits. A priority counts among an owner's own, never against others.
        let mut since: BTreeMap<String, ExecutionId> = BTreeMap::new();
        for head in &heads {
            let oldest = since.entry(head.owner.clone()).or_insert(head.id);
            *oldest = head.id.min(*oldest);
        }
        heads.sort_by_key(|head| {
            let waits_since = since.get(&head.owner).copied();
            (
                running.of_owner(&head.owner),
                waits_since,
                Reverse(head.priority),
                head.id,
            )
        });
        heads
    }

    /// What an execution of `owner` for `target` waits for.
    pub fn waits_for(&self, running: &Running, owner: &str, target: &str) -> WaitsFor {
        if self.is_full_on_target(running, target) {
            WaitsFor::Target
        } else if self.is_full_for_owner(running, owner) {
            WaitsFor::Owner
        } else {
            WaitsFor::Turn
        }
    }
}

impl WaitsFor {
    /// The word that is shown.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Turn => "turn",
            Self::Target => "target",
            Self::Owner => "owner",
        }
    }
}

impl Place {
    /// In words for the caller whose execution it is. Of what others do it tells a number, no more.
    pub fn words(self) -> String {
        let before = match self.before {
            0 => "it is next".to_owned(),
            many => format!("{many} before it"),
        };
        match self.waits_for {
            WaitsFor::Turn => before,
            WaitsFor::Target => format!("its target runs as many executions as it may at once; {before}"),
            WaitsFor::Owner => format!("you run as many executions as one caller may at once; {before}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heads(of: &[(&str, &str)]) -> Vec<Head> {
        let mut heads: Vec<Head> = of
            .iter()
            .map(|(owner, target)| Head {
                id: ExecutionId::random(),
                owner: (*owner).to_owned(),
                target: (*target).to_owned(),
                priority: 0,
            })
            .collect();
        heads.sort_by_key(|head| head.id);
        for (head, (owner, target)) in heads.iter_mut().zip(of) {
            (head.owner, head.target) = ((*owner).to_owned(), (*target).to_owned());
        }
        heads
    }

    fn order(limits: &AtOnce, running: &Running, of: &[(&str, &str)]) -> Vec<String> {
        let in_turn = limits.in_turn(heads(of), running);
        in_turn
            .into_iter()
            .map(|head| format!("{} {}", head.owner, head.target))
            .collect()
    }

    #[test]
    fn who_runs_least_comes_first_and_then_who_waits_longest() {
        let mut running = Running::default();
        running.add("a", "x", 2);
        running.add("b", "x", 1);
        let waiting = [("a", "x"), ("b", "x"), ("c", "x"), ("c", "y")];
        assert_eq!(
            order(&AtOnce::default(), &running, &waiting),
            ["c x", "c y", "b x", "a x"]
        );
    }

    #[test]
    fn a_priority_counts_among_an_owners_own_and_never_against_others() {
        let mut waiting = heads(&[("a", "x"), ("b", "x"), ("a", "y"), ("b", "y")]);
        waiting[2].priority = 5;
        waiting[3].priority = 1;
        let order = AtOnce::default().in_turn(waiting, &Running::default());
        let order: Vec<_> = order
            .iter()
            .map(|head| format!("{} {}", head.owner, head.target))
            .collect();
        assert_eq!(order, ["a y", "a x", "b y", "b x"]);
    }

    #[test]
    fn the_full_get_nothing() {
        let mut running = Running::default();
        running.add("a", "x", 2);
        running.add("b", "y", 1);
        let limits = AtOnce {
            per_owner: Some(2),
            per_target: BTreeMap::from([("x".to_owned(), 3), ("y".to_owned(), 1)]),
        };
        assert_eq!(order(&limits, &running, &[("a", "z"), ("b", "y"), ("b", "x")]), ["b x"]);
        assert_eq!(limits.full_targets(&running), ["y"]);
        assert_eq!(limits.waits_for(&running, "a", "x"), WaitsFor::Owner);
        assert_eq!(limits.waits_for(&running, "a", "y"), WaitsFor::Target);
        assert_eq!(limits.waits_for(&running, "b", "x"), WaitsFor::Turn);
    }

    #[test]
    fn a_place_is_told_in_words() {
        let words = |before, waits_for| Place { before, waits_for }.words();
        assert_eq!(words(0, WaitsFor::Turn), "it is next");
        assert_eq!(words(2, WaitsFor::Turn), "2 before it");
        let full = "its target runs as many executions as it may at once; it is next";
        assert_eq!(words(0, WaitsFor::Target), full);
    }
}
