//! The folder of targets and recipes: what it is read to, and how its mistakes are told.

use std::path::Path;

use clawhand::inventory;

#[test]
fn the_shipped_targets_and_recipes_are_good() {
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("targets");
    let snapshot = match inventory::load(&shipped) {
        Ok(snapshot) => snapshot,
        Err(problems) => panic!("{}", problems.iter().map(|p| format!("{p}\n")).collect::<String>()),
    };
    let names = |all: Vec<&str>| all.join(" ");
    assert_eq!(
        names(snapshot.targets.iter().map(|t| t.name.as_str()).collect()),
        "deploy-example sandbox vault-staging"
    );
    assert_eq!(
        names(snapshot.recipes.iter().map(|r| r.name.as_str()).collect()),
        "go make maven node python python-script rust shell"
    );
}
