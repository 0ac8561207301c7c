//! Target files of the kind, and their mistakes.

use clawhand::domain::target::ExecutorBlock;
use clawhand::inventory;

fn load(executor: &str) -> Result<ExecutorBlock, Vec<String>> {
    let folder = tempfile::tempdir().expect("makes a folder");
    let text = format!(
        "name = \"t\"\ndescription = \"a cluster\"\nintents = [\"test\"]\n[executor]\nkind = \"kubernetes\"\n{executor}"
    );
    std::fs::write(folder.path().join("t.toml"), text).expect("writes");
    match inventory::load(folder.path()) {
        Ok(mut snapshot) => Ok(snapshot.targets.remove(0).executor),
        Err(problems) => Err(problems.iter().map(|problem| format!("{problem:?}")).collect()),
    }
}

#[test]
fn every_key_is_read() {
    let text = "kubeconfig = \"/etc/c.conf\"\ncontext = \"c\"\nnamespace = \"n\"\nservice_account = \"s\"\nservice_account_token = true\n\
        image = \"i\"\nhelper_image = \"h\"\npull_policy = \"Always\"\nimage_pull_secrets = [\"p\"]\ncpu = \"500m\"\ncpu_limit = \"2\"\n\
        memory = \"1Gi\"\nmemory_limit = \"2Gi\"\nuser = 5\npath = \"/bin\"\nworkspace_size = \"1Gi\"\nstart_timeout = \"1m\"\nkeep = \"2m\"\n\
        [executor.node_selector]\n\"a/b\" = \"c\"\n[[executor.tolerations]]\nkey = \"k\"\noperator = \"Exists\"\neffect = \"NoExecute\"\n\
        [executor.pod.spec]\npriorityClassName = \"high\"\n";
    let Ok(ExecutorBlock::Kubernetes(block)) = load(text) else {
        panic!("{:?}", load(text));
    };
    assert_eq!((block.namespace.as_str(), block.helper(), block.user), ("n", "h", 5));
    assert_eq!(block.resources.cpu.as_deref(), Some("500m"));
    assert_eq!(block.node_selector["a/b"], "c");
    assert_eq!(block.tolerations[0].operator.as_deref(), Some("Exists"));
    assert_eq!(block.pod["spec"]["priorityClassName"], "high");
    assert_eq!((block.start_timeout.as_secs(), block.keep.as_secs()), (60, 120));
}

#[test]
fn every_mistake_is_told_at_its_place() {
    for (line, words) in [
        ("", "executor.namespace is missing"),
        ("namespace = \"N_1\"\nimage = \"i\"", "can't be a name in a cluster"),
        ("namespace = \"n\"", "executor.image is missing"),
        ("namespace = \"n\"\nimage = \"i\"\nuser = 0", "can't run as the user 0"),
        (
            "namespace = \"n\"\nimage = \"i\"\nmemory = \"1 GiB\"",
            "is no quantity of memory",
        ),
        (
            "namespace = \"n\"\nimage = \"i\"\npull_policy = \"always\"",
            "is no pull_policy",
        ),
        (
            "namespace = \"n\"\nimage = \"i\"\nkubeconfig = \"c.conf\"",
            "is not an absolute path",
        ),
        (
            "namespace = \"n\"\nimage = \"i\"\ncontext = \"c\"",
            "of no use without kubeconfig",
        ),
        ("namespace = \"n\"\nimage = \"i\"\npod = \"x\"", "must be a table"),
        ("namespace = \"n\"\nimage = \"i\"\nnamspace = \"x\"", "unknown key"),
    ] {
        let problems = load(line).expect_err(words);
        assert!(
            problems.iter().any(|problem| problem.contains(words)),
            "{words:?} is not among {problems:?}"
        );
    }
}
