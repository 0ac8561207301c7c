//! From files to a plan: which recipe, which steps, and what is refused or still missing.

use std::collections::BTreeMap;
use std::path::Path;

use clawhand::domain::facts::Tool;
use clawhand::domain::plan::{Effect, Risk};
use clawhand::domain::target::{ApprovalRule, ExecutorBlock, Limits, LocalBlock};
use clawhand::domain::task::{Constraints, TaskSpec};
use clawhand::domain::{Code, Digest, Facts, Listing, Recipe, Refusal, Target, UnixMs};
use clawhand::inventory;
use clawhand::planner::{self, Planned, Request};
use serde_json::{Value, json};

/// A target that takes everything.
pub fn target(name: &str, description: &str, aliases: &[&str], labels: &[(&str, &str)]) -> Target {
    Target {
        name: name.to_owned(),
        description: description.to_owned(),
        labels: labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
        aliases: aliases.iter().map(|a| (*a).to_owned()).collect(),
        capabilities: Vec::new(),
        disabled: false,
        intents: ["install_and_test", "test", "run", "build", "lint", "check", "deploy"]
            .map(str::to_owned)
            .to_vec(),
        approval: BTreeMap::new(),
        approval_expires: Target::APPROVAL_EXPIRES,
        environment: BTreeMap::new(),
        secrets: BTreeMap::new(),
        limits: Limits::default(),
        executor: ExecutorBlock::Local(LocalBlock {
            network: true,
            ..LocalBlock::default()
        }),
    }
}

/// A project, a task and a target, to be changed by each test.
struct Case {
    task: TaskSpec,
    target: Target,
    facts: Option<Facts>,
    listing: Listing,
    inputs: BTreeMap<String, Digest>,
    recipes: Vec<Recipe>,
}

impl Case {
    fn new(intent: &str, files: &[(&str, &str)]) -> Self {
        let tools = [
            ("python3", "3.11.7"),
            ("node", "20.20.2"),
            ("npm", "10.8.2"),
            ("cargo", "1.95.0"),
            ("go", "1.26.8"),
            ("mvn", "3.8.7"),
            ("javac", "17.0.1"),
            ("make", "4.3"),
            ("sh", ""),
            ("bash", "5.2"),
        ];
        let tools = tools.iter().map(|(tool, version)| {
            (
                (*tool).to_owned(),
                Tool {
                    version: (*version).to_owned(),
                },
            )
        });
        let mut listing = Listing::default();
        for (path, text) in files {
            listing.files.insert((*path).to_owned(), text.len() as u64);
            if Listing::MANIFEST_NAMES.contains(path) {
                listing.manifests.insert((*path).to_owned(), (*text).to_owned());
            }
        }
        let recipes = inventory::load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("targets"))
            .expect("loads")
            .recipes;
        Self {
            task: TaskSpec {
                project_name: "demo".to_owned(),
                goal: "see that it works".to_owned(),
                target_ref: "demo place".to_owned(),
                execution_intent: intent.to_owned(),
                context: None,
                constraints: Constraints::default(),
                inputs: BTreeMap::new(),
            },
            target: target("demo-place", "For tests", &[], &[]),
            facts: Some(Facts {
                os: "linux".to_owned(),
                arch: "x86_64".to_owned(),
                tools: tools.collect(),
                isolation: Vec::new(),
                learned_at: UnixMs(0),
            }),
            listing,
            inputs: BTreeMap::from([("demo.tar.gz".to_owned(), Digest::of(b"demo"))]),
            recipes,
        }
    }

    fn input(mut self, name: &str, value: Value) -> Self {
        self.task.inputs.insert(name.to_owned(), value);
        self
    }

    fn plan(&self) -> Result<Planned, Refusal> {
        planner::plan(&Request {
            task: &self.task,
            target: &self.target,
            facts: self.facts.as_ref(),
            listing: &self.listing,
            inputs: &self.inputs,
            recipes: &self.recipes,
        })
    }

    /// "recipe/variant: step step", or the codes of what is missing.
    fn outline(&self) -> String {
        let planned = self.plan().expect("no refusal");
        match planned.plan {
            Some(plan) => {
                let steps: Vec<&str> = plan.steps.iter().map(|step| step.name.as_str()).collect();
                format!("{}/{}: {}", plan.recipe, plan.variant, steps.join(" "))
            }
            None => format!(
                "needs {}",
                planned
                    .needs
                    .iter()
                    .map(|n| n.code.as_str())
                    .collect::<Vec<_>>()
                    .join(" ")
            ),
        }
    }
}

const PYPROJECT: &str = "[project]\nname = 'x'\n";
const WITH_TEST: &str = "[project]\nname = 'x'\n[project.optional-dependencies]\ntest = ['pytest']\ndev = ['ruff']\n";
const WITH_DEV: &str = "[project]\nname = 'x'\n[project.optional-dependencies]\ndev = ['pytest']\n";
const WITH_GROUP: &str = "[project]\nname = 'x'\n[dependency-groups]\ndev = ['pytest']\n";
const ONLY_TOOLS: &str = "[tool.ruff]\nline-length = 100\n";
const NODE_TEST: &str = r#"{"scripts": {"test": "node --test", "lint": "eslint ."}}"#;
const JEST: &str = r#"{"scripts": {"test": "jest"}}"#;
const VITEST: &str = r#"{"scripts": {"test": "vitest run"}}"#;

type Files = &'static [(&'static str, &'static str)];

/// What is asked for, the files, and the recipe with its variant and steps, or what is missing.
const CHOICES: &[(&str, Files, &str)] = &[
    (
        "install_and_test",
        &[("pyproject.toml", PYPROJECT)],
        "python/venv: environment install install-pytest test",
    ),
    (
        "install_and_test",
        &[("pyproject.toml", WITH_TEST)],
        "python/venv: environment install-with-test install-pytest test",
    ),
    (
        "install_and_test",
        &[("pyproject.toml", WITH_DEV)],
        "python/venv: environment install-with-dev install-pytest test",
    ),
    (
        "install_and_test",
        &[("pyproject.toml", WITH_GROUP)],
        "python/venv: environment install update-pip install-group-dev install-pytest test",
    ),
    (
        "install_and_test",
        &[("pyproject.toml", ONLY_TOOLS), ("a.py", "")],
        "python/venv: environment install-pytest test",
    ),
    (
        "install_and_test",
        &[("pyproject.toml", "broken =")],
        "python/venv: environment install-pytest test",
    ),
    (
        "install_and_test",
        &[("setup.py", "")],
        "python/venv: environment install-setup install-pytest test",
    ),
    (
        "install_and_test",
        &[("requirements.txt", "x"), ("requirements-dev.txt", "y")],
        "python/venv: environment install-requirements install-test-requirements install-pytest test",
    ),
    (
        "test",
        &[("pyproject.toml", WITH_TEST)],
        "python/venv: environment-shared install-pytest test-in-place",
    ),
    (
        "build",
        &[("pyproject.toml", PYPROJECT)],
        "python/venv: environment install-build build",
    ),
    (
        "lint",
        &[("pyproject.toml", PYPROJECT)],
        "python/venv: environment install-ruff lint",
    ),
    ("check", &[("pyproject.toml", PYPROJECT)], "python/venv: check"),
    ("run", &[("pyproject.toml", PYPROJECT)], "needs project_files"),
    (
        "run",
        &[("requirements.txt", ""), ("main.py", "")],
        "python/venv: environment install-requirements run-main",
    ),
    ("run", &[("count.py", "")], "python-script/venv: run"),
    (
        "test",
        &[("count.py", "")],
        "python-script/venv: environment install-pytest test",
    ),
    ("run", &[("sub/count.py", "")], "needs no_recipe"),
    (
        "install_and_test",
        &[("package.json", NODE_TEST), ("package-lock.json", "{}")],
        "node/npm: install-locked test-node",
    ),
    (
        "install_and_test",
        &[("package.json", NODE_TEST)],
        "node/npm: install test-node",
    ),
    ("install_and_test", &[("package.json", JEST)], "node/npm: install test"),
    ("test", &[("package.json", VITEST)], "node/npm: test-vitest"),
    // Preparing alone would do nothing that was asked for.
    ("install_and_test", &[("package.json", "{}")], "needs project_files"),
    ("lint", &[("package.json", JEST)], "needs project_files"),
    ("lint", &[("package.json", NODE_TEST)], "node/npm: install lint"),
    ("install_and_test", &[("Cargo.toml", "")], "rust/cargo: fetch test"),
    ("build", &[("Cargo.toml", "")], "rust/cargo: build"),
    ("install_and_test", &[("go.mod", "")], "go/go: fetch test"),
    ("lint", &[("go.mod", "")], "go/go: vet"),
    ("install_and_test", &[("pom.xml", "")], "maven/maven: test"),
    ("build", &[("pom.xml", "")], "maven/maven: build"),
    ("build", &[("Makefile", "")], "make/make: build"),
    (
        "deploy",
        &[("Makefile", "deploy:\n"), ("pyproject.toml", PYPROJECT)],
        "make/make: deploy",
    ),
    ("run", &[("x.sh", "")], "shell/bash: run"),
    ("test", &[("test.sh", ""), ("run.sh", "")], "shell/bash: test"),
    // Several kinds at once: the one that says most about the project wins.
    (
        "test",
        &[
            ("Makefile", ""),
            ("Cargo.toml", ""),
            ("package.json", NODE_TEST),
            ("run.sh", ""),
        ],
        "rust/cargo: test",
    ),
    (
        "test",
        &[
            ("Makefile", ""),
            ("pyproject.toml", PYPROJECT),
            ("package.json", NODE_TEST),
        ],
        "python/venv: environment-shared install-pytest test-in-place",
    ),
    ("test", &[("README.md", "")], "needs no_recipe"),
    ("test", &[], "needs project_files"),
];

#[test]
fn files_choose_the_recipe_and_the_steps() {
    for (intent, files, expected) in CHOICES {
        let mut case = Case::new(intent, files);
        assert_eq!(case.outline(), *expected, "{intent} {files:?}");
        case.recipes.reverse();
        assert_eq!(case.outline(), *expected, "order of recipes: {intent} {files:?}");
    }
}

#[test]
fn facts_choose_the_variant() {
    let files: &[(&str, &str)] = &[("pyproject.toml", "[project]\nname = 'x'\n")];
    let mut case = Case::new("check", files);
    let tools = |case: &mut Case, tools: &[(&str, &str)]| {
        let tools = tools.iter().map(|(t, v)| {
            (
                (*t).to_owned(),
                Tool {
                    version: (*v).to_owned(),
                },
            )
        });
        case.facts.as_mut().expect("facts").tools = tools.collect();
    };
    tools(&mut case, &[("python3", "3.11.7"), ("uv", "0.10.1")]);
    assert_eq!(case.outline(), "python/uv: check");
    tools(&mut case, &[("python3", "3.8"), ("uv", "0.3.9")]);
    assert_eq!(case.outline(), "python/venv: check");

    tools(&mut case, &[("python3", "3.7.17")]);
    let refusal = case.plan().expect_err("too old");
    assert_eq!(refusal.code, Code::MissingFacts);
    assert_eq!(
        refusal.message,
        "the target lacks what the recipe python needs: uv 0.4 or newer, or python3 3.8 or newer (it has 3.7.17)"
    );
    assert!(refusal.hint.contains("install Python 3.8 or newer"), "{}", refusal.hint);

    case.facts = None;
    assert_eq!(case.outline(), "needs facts");

    let mut lint = Case::new("lint", &[("run.sh", "")]);
    assert_eq!(lint.plan().expect_err("no shellcheck").hint, "install shellcheck");
    lint.task.execution_intent = "check".to_owned();
    assert_eq!(lint.outline(), "shell/bash: check");
}

#[test]
fn a_variant_may_ask_for_a_capability() {
    let mut case = Case::new("run", &[("run.sh", "")]);
    let shell = case.recipes.iter_mut().find(|r| r.name == "shell").expect("shell");
    shell
        .variants
        .iter_mut()
        .for_each(|variant| variant.capabilities = vec!["gpu".to_owned()]);
    let refusal = case.plan().expect_err("no gpu");
    assert_eq!(
        refusal.message,
        "the target lacks what the recipe shell needs: the capability gpu"
    );
    case.target.capabilities = vec!["gpu".to_owned()];
    assert_eq!(case.outline(), "shell/bash: run");
}

#[test]
fn inputs_become_whole_arguments_or_are_refused() {
    let python: &[(&str, &str)] = &[("pyproject.toml", "[project]\nname = 'x'\n")];
    let case = Case::new("install_and_test", python)
        .input("test_args", json!(["-k", "a b; rm -rf /", "$(x)"]))
        .input("extras", json!(["cli", "s3"]));
    let plan = case.plan().expect("no refusal").plan.expect("a plan");
    let argv = |name: &str| {
        plan.steps
            .iter()
            .find(|step| step.name == name)
            .map(|step| step.argv.clone())
            .expect(name)
    };
    assert!(argv("test").ends_with(&["-k".to_owned(), "a b; rm -rf /".to_owned(), "$(x)".to_owned()]));
    assert!(argv("install-extras").ends_with(&[".[cli]".to_owned(), ".[s3]".to_owned()]));
}

#[test]
fn inputs_that_are_not_fit_to_be_arguments_are_refused() {
    let python: &[(&str, &str)] = &[("pyproject.toml", "[project]\nname = 'x'\n")];
    let make: &[(&str, &str)] = &[("Makefile", "x:\n")];
    let long = "x".repeat(4097);
    for (files, name, value, message, hint) in [
        (
            python,
            "test_arg",
            json!([]),
            "no input 'test_arg'",
            "did you mean 'test_args'?",
        ),
        (
            python,
            "zzz",
            json!(1),
            "no input 'zzz'",
            "it takes: args, extras, module, script, test_args",
        ),
        (
            python,
            "test_args",
            json!("-k"),
            "'test_args' must be a list of texts",
            "pytest",
        ),
        (
            python,
            "test_args",
            json!([1]),
            "'test_args' must be a list of texts",
            "",
        ),
        (python, "test_args", json!(["a\0b"]), "has a NUL character", ""),
        (python, "test_args", json!([long]), "must have 1 to 4096 bytes", ""),
        (python, "test_args", json!(vec!["x"; 257]), "more than 256 values", ""),
        (python, "extras", json!(["-x"]), "begins with '-'", ""),
        (
            python,
            "extras",
            json!(["a] @ https://evil.example/x"]),
            "not a plain name",
            "",
        ),
        (
            python,
            "script",
            json!("../x.py"),
            "not a path inside the project",
            "without '..'",
        ),
        (
            python,
            "script",
            json!("/etc/x.py"),
            "not a path inside the project",
            "",
        ),
        (python, "module", json!({"a": 1}), "must be a text", ""),
        (python, "module", json!(""), "must have 1 to 4096 bytes", ""),
        (make, "jobs", json!(1.5), "must be a whole number", ""),
        (make, "rule", json!("--eval=x"), "begins with '-'", ""),
    ] {
        let refusal = Case::new("test", files)
            .input(name, value.clone())
            .plan()
            .expect_err(name);
        assert_eq!(refusal.code, Code::InvalidArgument, "{name} {value}");
        assert!(refusal.message.contains(message), "{name}: {}", refusal.message);
        assert!(refusal.hint.contains(hint), "{name}: {}", refusal.hint);
    }
}

#[test]
fn inputs_that_no_recipe_takes_are_refused_before_there_are_files() {
    let early = Case::new("test", &[]).input("tset_args", json!([]));
    assert_eq!(early.plan().expect_err("unknown").hint, "did you mean 'test_args'?");
    assert_eq!(
        Case::new("test", &[]).input("test_args", json!([])).outline(),
        "needs project_files"
    );
}

#[test]
fn a_file_called_like_an_option_is_no_option() {
    let plan = Case::new("run", &[("--eval=x.sh", "")])
        .plan()
        .expect("no refusal")
        .plan
        .expect("a plan");
    assert_eq!(plan.steps[0].argv, ["bash", "./--eval=x.sh"]);
}

#[test]
fn required_and_limited_inputs() {
    let mut case = Case::new("test", &[("Makefile", "")]);
    let make = case.recipes.iter_mut().find(|r| r.name == "make").expect("make");
    let rule = make.parameters.get_mut("rule").expect("rule");
    rule.required = true;
    rule.one_of = vec!["unit".to_owned(), "all".to_owned()];
    assert_eq!(case.outline(), "needs parameter");
    let case = case.input("rule", json!("units"));
    assert_eq!(case.plan().expect_err("not allowed").hint, "it is one of: unit, all");
    assert_eq!(case.input("rule", json!("unit")).outline(), "make/make: rule");
}

#[test]
fn constraints_only_ever_lower_the_limits() {
    let mut case = Case::new("check", &[("pyproject.toml", "[project]\n")]);
    let (limit, output) = (
        case.target.limits.timeout.as_secs(),
        case.target.limits.max_output_bytes,
    );
    for (asked, got) in [(None, limit), (Some(60), 60), (Some(u64::MAX), limit)] {
        case.task.constraints.timeout_s = asked;
        let step = &case.plan().expect("no refusal").plan.expect("a plan").steps[0];
        assert_eq!(step.timeout_s, got, "{asked:?}");
    }
    for (asked, got) in [(None, output), (Some(1024), 1024), (Some(u64::MAX), output)] {
        case.task.constraints.max_output_bytes = asked;
        let step = &case.plan().expect("no refusal").plan.expect("a plan").steps[0];
        assert_eq!(step.max_output_bytes, got, "{asked:?}");
    }
    case.task.constraints.timeout_s = Some(0);
    assert_eq!(
        case.plan().expect_err("zero").message,
        "constraints.timeout_s can't be 0"
    );
}

#[test]
fn a_target_decides_about_intents_and_approvals() {
    let mut case = Case::new("deploy", &[("Makefile", "deploy:\n")]);
    case.target.approval.insert("deploy".to_owned(), ApprovalRule::Always);
    let planned = case.plan().expect("no refusal");
    assert_eq!(planned.approvals, ["a person must allow each deploy on demo-place"]);
    let plan = planned.plan.expect("a plan");
    assert_eq!(
        plan.approval.as_deref(),
        Some("a person must allow each deploy on demo-place")
    );
    assert_eq!(plan.risk, Risk::High);
    assert!(plan.steps[0].effects.contains(&Effect::Target));
    assert!(
        plan.explanation.contains("Approval: a person must allow each deploy"),
        "{}",
        plan.explanation
    );
    // What will be asked is known before the files are.
    case.listing = Listing::default();
    assert_eq!(case.plan().expect("no refusal").approvals.len(), 1);

    case.target.intents = vec!["install_and_test".to_owned(), "test".to_owned()];
    case.task.execution_intent = "tests".to_owned();
    let refusal = case.plan().expect_err("not taken");
    assert_eq!(refusal.code, Code::IntentNotAllowed);
    assert_eq!(refusal.hint, "did you mean 'test'? it takes: install_and_test, test");

    case.target.intents = vec!["fly".to_owned()];
    case.task.execution_intent = "fly".to_owned();
    assert_eq!(case.plan().expect_err("nobody serves it").code, Code::NoRecipe);
    case.target.disabled = true;
    assert_eq!(case.plan().expect_err("switched off").code, Code::DisabledTarget);
}

#[test]
fn the_explanation_says_where_how_and_what() {
    let mut case = Case::new("install_and_test", &[("requirements.txt", "")]);
    case.target.executor = ExecutorBlock::Local(LocalBlock::default());
    let plan = case.plan().expect("no refusal").plan.expect("a plan");
    assert_eq!(
        plan.explanation,
        "Where: demo-place, because 'demo place' uses words that only it fits.\n\
         How: as a Python project, because the project has requirements.txt, with python3 of the target.\n\
         Step 1, environment: make a virtual environment.\n\
         Step 2, install-requirements: install the requirements (uses the network, runs the project's code).\n\
         Step 3, install-pytest: make sure that pytest is there (uses the network, runs the project's code).\n\
         Step 4, test: run the tests with pytest (runs the project's code).\n\
         Note: steps have no network on this target; what they would download must be there already.\n\
         Approval: nobody is asked first."
    );
}

/// Something that is done to a case.
type Change = fn(&mut Case);

#[test]
fn the_digest_is_that_of_what_runs() {
    let case = || Case::new("run", &[("run.sh", "")]).input("args", json!(["Ada"]));
    let plan = |case: &Case| case.plan().expect("no refusal").plan.expect("a plan");
    let golden = plan(&case());
    // A stored format: approvals refer to it. It may change only together with what runs.
    assert_eq!(
        golden.digest().to_string(),
        "sha256:e83af481e0cb789a6adef46b489b0506b027d2ec400709a1a41cab7511b11390"
    );

    let mut same = case();
    same.task.goal = "something else in words".to_owned();
    same.task.target_ref = "demo-place".to_owned();
    same.target.description = "Described anew".to_owned();
    same.facts.as_mut().expect("facts").learned_at = UnixMs(77);
    assert_ne!(plan(&same).explanation, golden.explanation);
    assert_eq!(plan(&same).digest(), golden.digest());

    let changes: [(&str, Change); 9] = [
        ("argument", |c| {
            *c = Case::new("run", &[("run.sh", "")]).input("args", json!(["Bob"]));
        }),
        ("content of an input", |c| {
            c.inputs = BTreeMap::from([("demo.tar.gz".to_owned(), Digest::of(b"other"))]);
        }),
        ("name of an input", |c| {
            c.inputs = BTreeMap::from([("other.tar.gz".to_owned(), Digest::of(b"demo"))]);
        }),
        ("target", |c| c.target.name = "demo-place-2".to_owned()),
        ("timeout", |c| c.task.constraints.timeout_s = Some(5)),
        ("output limit", |c| c.task.constraints.max_output_bytes = Some(5)),
        ("variant", |c| {
            c.facts.as_mut().expect("facts").tools.remove("bash");
        }),
        ("environment of a step", |c| {
            let shell = c.recipes.iter_mut().find(|r| r.name == "shell").expect("shell");
            shell.variants[0].steps[0].env.insert("A".to_owned(), "b".to_owned());
        }),
        ("approval", |c| {
            c.target.approval.insert("run".to_owned(), ApprovalRule::Always);
        }),
    ];
    for (what, change) in changes {
        let mut changed = case();
        change(&mut changed);
        assert_ne!(plan(&changed).digest(), golden.digest(), "{what}");
    }
}
