//! Which target a reference means, and what is said when it means none or several.

use clawhand::domain::{Code, Target};
use clawhand::planner::{self, MatchKind};
use proptest::prelude::*;

use crate::planning::target;

fn some_targets() -> Vec<Target> {
    let mut retired = target(
        "vault-retired",
        "The vault before the last one",
        &["old vault"],
        &[("app", "ancient")],
    );
    retired.disabled = true;
    vec![
        target(
            "vault-staging",
            "Staging of Vault, like production but smaller",
            &["Staging Vault", "stg"],
            &[("env", "staging"), ("app", "vault")],
        ),
        target(
            "vault-staging-eu",
            "Staging of Vault in Europe",
            &[],
            &[("env", "staging"), ("app", "vault"), ("region", "eu")],
        ),
        target(
            "billing-production",
            "Payment service",
            &["billing"],
            &[("env", "production"), ("app", "billing")],
        ),
        target("build-farm", "Compiles things with a GPU", &[], &[("env", "ci")]),
        retired,
    ]
}

#[test]
fn references_resolve_by_name_alias_labels_and_words() {
    let targets = some_targets();
    for (reference, name, how) in [
        ("vault-staging", "vault-staging", MatchKind::Name),
        ("  Vault-Staging ", "vault-staging", MatchKind::Name),
        ("staging vault", "vault-staging", MatchKind::Alias),
        ("STG", "vault-staging", MatchKind::Alias),
        ("env=production", "billing-production", MatchKind::Labels),
        ("region = eu, app = vault", "vault-staging-eu", MatchKind::Labels),
        ("our staging vault environment", "vault-staging", MatchKind::Words),
        ("the vault in staging, eu", "vault-staging-eu", MatchKind::Words),
        ("the European vault staging europe", "", MatchKind::Words),
        ("vault europe", "vault-staging-eu", MatchKind::Words),
        ("the billing server", "billing-production", MatchKind::Words),
        ("gpu farm", "build-farm", MatchKind::Words),
    ] {
        match planner::resolve(reference, &targets) {
            Ok(resolved) => assert_eq!(
                (resolved.target.name.as_str(), resolved.how),
                (name, how),
                "{reference}"
            ),
            Err(refusal) => assert!(name.is_empty(), "{reference}: {refusal}"),
        }
    }
}

#[test]
fn what_does_not_resolve_says_what_comes_close() {
    let targets = some_targets();
    for (reference, code, said) in [
        (
            "vault-stagin",
            Code::UnknownTarget,
            "the closest targets are: vault-staging, vault-staging-eu",
        ),
        ("bilings", Code::UnknownTarget, "billing-production"),
        ("env=prod", Code::UnknownTarget, "billing-production"),
        // Its description mentions production; that doesn't make the staging vault a production one.
        ("vault production", Code::UnknownTarget, "vault-staging"),
        ("production vault", Code::UnknownTarget, "billing-production"),
        ("compiles things", Code::UnknownTarget, "build-farm"),
        ("localhost", Code::UnknownTarget, "the targets are: "),
        ("the server", Code::UnknownTarget, "the targets are: "),
        ("app=vault", Code::AmbiguousTarget, "vault-staging, vault-staging-eu"),
        ("staging", Code::AmbiguousTarget, "vault-staging, vault-staging-eu"),
        (
            "vault-retired",
            Code::DisabledTarget,
            "the closest targets are: vault-staging",
        ),
        ("app=ancient", Code::DisabledTarget, "switched off"),
        ("", Code::InvalidArgument, "1 to 256 bytes"),
        (&"x".repeat(300), Code::InvalidArgument, "1 to 256 bytes"),
        ("a\0b", Code::InvalidArgument, "1 to 256 bytes"),
        ("env=staging,,", Code::UnknownTarget, "vault-staging"),
    ] {
        let refusal = planner::resolve(reference, &targets).expect_err(reference);
        assert_eq!(refusal.code, code, "{reference}: {refusal:?}");
        let text = format!("{}; {}", refusal.message, refusal.hint);
        assert!(text.contains(said), "{reference}: {text}");
        // A target that is switched off is never offered instead.
        assert!(!refusal.hint.contains("retired"), "{reference}: {text}");
    }
    assert!(
        planner::resolve("anything", &[])
            .expect_err("none")
            .hint
            .contains("no target takes tasks")
    );
}

#[test]
fn explanations_judge_every_target() {
    let considered = planner::explain("staging vault eu", &some_targets());
    let told: Vec<String> = considered
        .iter()
        .map(|c| format!("{} {}: {}", c.target, c.chosen, c.why))
        .collect();
    assert_eq!(
        told,
        [
            "billing-production false: it has no word 'eu'",
            "build-farm false: it has no word 'eu'",
            "vault-retired false: it has no word 'eu'",
            "vault-staging false: it has no word 'eu'",
            "vault-staging-eu true: 'staging vault eu' has exactly the words of its name",
        ]
    );
}

const WORDS: [&str; 9] = ["vault", "staging", "eu", "billing", "prod", "gpu", "the", "old", "test"];

fn any_target() -> impl Strategy<Value = Target> {
    let words = || prop::collection::vec(prop::sample::select(&WORDS[..]), 1..4);
    let labels = prop::collection::vec(
        (
            prop::sample::select(&["env", "app"][..]),
            prop::sample::select(&WORDS[..]),
        ),
        0..3,
    );
    (words(), words(), words(), labels, any::<bool>()).prop_map(|(name, alias, description, labels, disabled)| {
        let mut target = target(&name.join("-"), &description.join(" "), &[&alias.join(" ")], &labels);
        target.disabled = disabled;
        target
    })
}

fn any_reference() -> impl Strategy<Value = String> {
    let words = prop::collection::vec(prop::sample::select(&WORDS[..]), 1..4).prop_map(|words| words.join(" "));
    let pair = (
        prop::sample::select(&["env", "app"][..]),
        prop::sample::select(&WORDS[..]),
    );
    let labels = prop::collection::vec(pair, 1..3).prop_map(|pairs| {
        pairs
            .iter()
            .map(|(k, v)| format!("{k}={v}"))
            .collect::<Vec<_>>()
            .join(",")
    });
    prop_oneof![words, labels, ".{0,40}"]
}

/// Whether a target could be meant at all, said independently of how resolution works.
fn could_be_meant(reference: &str, target: &Target) -> bool {
    let reference = reference.trim().to_lowercase();
    if reference.contains('=') {
        let alias = target.aliases.iter().any(|alias| alias.to_lowercase() == reference);
        return alias
            || reference.split(',').all(|pair| {
                pair.split_once('=')
                    .is_some_and(|(k, v)| target.labels.get(k.trim()).is_some_and(|have| have == v.trim()))
            });
    }
    let text = format!(
        "{} {} {} {:?}",
        target.name,
        target.aliases.join(" "),
        target.description,
        target.labels
    )
    .to_lowercase();
    let known: Vec<&str> = text.split(|c: char| !c.is_alphanumeric()).collect();
    reference
        .split(|c: char| !c.is_alphanumeric())
        .filter(|w| !w.is_empty() && *w != "the")
        .all(|w| known.contains(&w))
}

proptest! {
    #[test]
    fn resolution_never_answers_with_a_target_that_does_not_fit(
        mut targets in prop::collection::vec(any_target(), 0..6),
        reference in any_reference(),
        turn in 0usize..6,
    ) {
        let before = planner::resolve(&reference, &targets).map(|r| (r.target.clone(), r.how));
        if let Ok((target, _)) = &before {
            prop_assert!(!target.disabled);
            prop_assert!(could_be_meant(&reference, target), "{reference:?} gave {target:?}");
            // Nothing else fits by a stronger rule.
            let exact = targets.iter().filter(|t| t.name == reference.trim()).count();
            prop_assert!(exact == 0 || target.name == reference.trim());
        }
        // The order of the files doesn't matter, not even for the words of a refusal.
        targets.reverse();
        let by = turn.min(targets.len());
        targets.rotate_left(by);
        let after = planner::resolve(&reference, &targets).map(|r| (r.target.clone(), r.how));
        prop_assert_eq!(before.map(|(t, how)| (t.name, how)), after.map(|(t, how)| (t.name, how)));
    }
}
