//! How mistakes in target and recipe files are told: where, what, and what to do.

use crate::recipes::{GOOD, RECIPE, loaded, told};

/// What is expected to be told of a file.
fn lines(file: &str, told: &[&str]) -> Vec<String> {
    told.iter().map(|line| format!("{file}:{line}")).collect()
}

/// Mistakes in a target file: what is put in place of what, and how it is told.
const IN_TARGETS: &[(&str, &str, &[&str])] = &[
    (
        "name = \"one\"",
        "name = \"One\"",
        &[
            "1:8: 'One' can't be the name of a target (use lower-case letters, digits and '-', at most 63 characters, with a letter or digit at both ends)",
        ],
    ),
    (
        "name = \"one\"",
        "",
        &["1:1: name is missing (write name = \"vault-staging\")"],
    ),
    (
        "name = \"one\"",
        "nmae = \"one\"",
        &[
            "1:1: name is missing (write name = \"vault-staging\")",
            "1:1: unknown key nmae (did you mean 'name'?)",
        ],
    ),
    (
        "name = \"one\"",
        "name = 1",
        &["1:8: name must be a text, not a whole number (write name = \"...\")"],
    ),
    (
        "\"The first\"",
        "\" \"",
        &["2:15: description is empty (write description = \"what this is, for people and models\")"],
    ),
    (
        "intents = [\"test\"]",
        "",
        &["1:1: intents is missing (write intents = [\"test\", \"install_and_test\"])"],
    ),
    (
        "intents = [\"test\"]",
        "intents = \"test\"",
        &["3:11: intents must be a list, not a text (write intents = [...])"],
    ),
    (
        "intents = [\"test\"]",
        "intents = [\"test\", 1, \"tset\", \"No\", \"test\"]",
        &[
            "3:20: intents must be a list of which each is a text, not a whole number",
            "3:23: no recipe serves the intent 'tset' (did you mean 'test'?)",
            "3:31: 'No' can't be an intent (use lower-case letters, digits and '_', such as \"install_and_test\")",
            "3:37: the intent 'test' is there twice (remove one)",
        ],
    ),
    (
        "intents = [\"test\"]",
        "intents = [\"test\"]\naliases = [\"a=b\", \"one\"]",
        &[
            "4:12: 'a=b' can't be an alias (an alias has 1 to 100 characters and neither '=' nor ',', which mean labels)",
            "4:19: 'one' is there twice (remove one)",
        ],
    ),
    (
        "intents = [\"test\"]",
        "intents = [\"test\"]\nlabels = { env = 1, \"a,b\" = \"c\" }",
        &[
            "4:18: labels.env must be a text, not a whole number (write it in double quotes)",
            "4:21: the label a,b=c can't be referred to (a label has a key and a value without '=', ',' and space around them)",
        ],
    ),
    (
        "intents = [\"test\"]",
        "intents = [\"test\"]\ndisabled = \"yes\"",
        &["4:12: disabled must be true or false, not a text (write disabled = true, without quotes)"],
    ),
    (
        "intents = [\"test\"]",
        "intents = [\"test\"]\napproval_expires = \"soon\"",
        &[
            "4:20: 'soon' is not a duration for approval_expires (write a number with a unit, such as \"30s\", \"15m\", \"2h\" or \"1d\")",
        ],
    ),
    (
        "[executor]",
        "[approval]\ntests = \"always\"\ntest = \"allways\"\n[executor]",
        &[
            "6:1: approval names the intent 'tests', which the target doesn't take (did you mean 'test'?)",
            "7:8: 'allways' is not a rule for approvals (did you mean 'always'?)",
        ],
    ),
    (
        "[executor]\nkind = \"local\"",
        "",
        &["1:1: the table [executor] is missing (write [executor] and kind = \"local\" below)"],
    ),
    (
        "[executor]\nkind = \"local\"",
        "executor = \"local\"",
        &["5:12: executor must be a table, not a text (write [executor] and its keys below)"],
    ),
    (
        "kind = \"local\"",
        // What else may stand there depends on the kind, so nothing is said of it.
        "kind = \"locl\"\nnetwrok = true",
        &["6:8: there is no executor of the kind 'locl' (did you mean 'local'?)"],
    ),
    (
        "kind = \"local\"",
        "kind = \"local\"\npath = \"bin:/usr/bin\"\nread_paths = [\"opt\"]",
        &[
            "7:8: 'bin' is not an absolute path (begin each path with '/')",
            "8:15: 'opt' is not an absolute path (begin each path with '/')",
        ],
    ),
    (
        "kind = \"local\"",
        "kind = \"docker\"\nendpoint = \"tcp://far.example:2375\"\npull = \"allways\"\nuser = \"0:0\"\nnetwork = \"host\"\n\
         cpus = \"many\"\nimage = \"-v\"",
        &[
            "7:12: 'tcp://far.example:2375' would be used without TLS, and whoever can reach it is root there (add [executor.tls] with ca, cert and key, or use ssh://)",
            "8:8: 'allways' is not a rule for pulling images (did you mean 'always'?)",
            "9:8: steps never run as root (write user = \"1000:1000\" with the numbers of another user)",
            "10:11: steps can't join the network 'host' (write network = \"NAME\" with the name of a network of the daemon, such as \"bridge\")",
            "11:8: 'many' is not a number of processors (write cpus = \"2\" or cpus = \"0.5\"; at least \"0.01\")",
            "12:9: '-v' can't be the name of an image (write NAME:TAG or NAME@sha256:...)",
        ],
    ),
    (
        "kind = \"local\"",
        "kind = \"docker\"\nendpoint = \"docker.sock\"\nnetwork = true\ntls = { ca = \"ca.pem\", cert = \"/c\" }",
        &[
            "5:2: executor.image is missing (write image = \"registry.example/python:3.12\")",
            "7:12: 'docker.sock' is not the endpoint of a daemon (write \"unix:///var/run/docker.sock\", \"tcp://HOST:2376\" or \"ssh://USER@HOST\")",
            "8:1: network doesn't say which one (write network = \"NAME\" with the name of a network of the daemon, such as \"bridge\")",
            "9:1: executor.tls.key is missing (write key = \"/absolute/path.pem\")",
            "9:14: 'ca.pem' is not an absolute path (begin each path with '/')",
        ],
    ),
    (
        "kind = \"local\"",
        "kind = \"docker\"\nimage = \"x:1\"\nendpoint = \"ssh://ci@far.example\"\ntls = { ca = \"/a\", cert = \"/c\", key = \"/k\" }",
        &[
            "8:12: nothing says how to log in at 'ssh://ci@far.example' (add [executor.ssh] with known_hosts and identity_file)",
            "8:12: tls is for an endpoint with tcp:// (remove the table tls)",
        ],
    ),
    (
        "kind = \"local\"",
        "kind = \"docker\"\nimage = \"x:1\"\nendpoint = \"ssh://ci@far.example\"\nssh = { identity_file = \"key\", port = 1 }",
        &[
            "9:1: executor.ssh.known_hosts is missing (write known_hosts = \"/etc/clawhand/known_hosts\", made by ssh-keyscan and checked)",
            "9:25: 'key' is not an absolute path (begin each path with '/')",
            "9:32: unknown key executor.ssh.port (known are: agent, certificate_file, config, identity_file, jump, known_hosts)",
        ],
    ),
    (
        "[executor]",
        "[limits]\ntimeout = 30\nmax_output = \"64\"\nmax_processes = 0\nmax_fil = \"1 MiB\"\n[executor]",
        &[
            "6:11: limits.timeout must be a duration in quotes, not a whole number (write timeout = \"30m\")",
            "7:14: '64' is not a size for max_output (write a number with a unit, such as \"512 KiB\", \"64 MiB\" or \"1 GiB\")",
            "8:17: max_processes can't be 0 (write a number from 1 up)",
            "9:1: unknown key limits.max_fil (did you mean 'max_file'?)",
        ],
    ),
    (
        "[executor]",
        "[environment]\n\"A-B\" = \"x\"\nAPI_TOKEN = \"hunter2\"\nURL = \"https://me:hunter2@x/\"\nN = 1\n[executor]",
        &[
            "6:1: 'A-B' can't be the name of an environment variable (use letters, digits and '_')",
            "7:13: the environment variable API_TOKEN holds a secret in plain text (move it to [secrets]: API_TOKEN = { env = \"...\" } or { file = \"/...\" })",
            "8:7: the environment variable URL holds a secret in plain text (move it to [secrets]: URL = { env = \"...\" } or { file = \"/...\" })",
            "9:5: environment.N must be a text, not a whole number (write it in double quotes)",
        ],
    ),
    (
        "[executor]",
        "[secrets]\nA = \"hunter2\"\nB = { env = \"hunter2!\" }\nC = { file = \"hunter2\" }\nD = {}\nE = { env = \"X\", file = \"/x\" }\nF = { vault = \"hunter2\" }\n[executor]",
        &[
            "6:5: the secret A is written into the file (write A = { env = \"VARIABLE\" } or { file = \"/path\" }; secrets never stand here)",
            "7:13: the secret B doesn't name an environment variable (write B = { env = \"VARIABLE\" } or { file = \"/path\" }; secrets never stand here)",
            "8:14: the secret C doesn't name a file by an absolute path (write C = { env = \"VARIABLE\" } or { file = \"/path\" }; secrets never stand here)",
            "9:1: the secret D doesn't say where it is read from (write D = { env = \"VARIABLE\" } or { file = \"/path\" }; secrets never stand here)",
            "10:1: the secret E is read from two places (keep env or file)",
            "11:1: the secret F doesn't say where it is read from (write F = { env = \"VARIABLE\" } or { file = \"/path\" }; secrets never stand here)",
            "11:7: unknown key secrets.F.vault (known are: env, file)",
        ],
    ),
    (
        "[executor]",
        "[environment]\nA = \"b\"\n[secrets]\nA = { env = \"X\" }\n[executor]",
        &["8:1: A is in [environment] as well (remove one of the two)"],
    ),
    (
        "[executor]",
        "[executor\n",
        &["5:10: unclosed table, expected `]` (this is not TOML; texts stand in double quotes)"],
    ),
    (
        "kind = \"local\"",
        "kind = local\nnetwork = ja",
        &[
            "6:8: string values must be quoted, expected literal string (this is not TOML; texts stand in double quotes)",
            "7:11: string values must be quoted, expected literal string (this is not TOML; texts stand in double quotes)",
        ],
    ),
];

#[test]
fn mistakes_in_targets_are_told_where_they_are() {
    for (from, to, expected) in IN_TARGETS {
        let text = GOOD.replace(from, to);
        assert_ne!(text, GOOD, "{from}");
        let told = told(&[("a.toml", &text)]);
        for line in &told {
            assert!(!line.contains("hunter2"), "repeats a secret: {line}");
        }
        assert_eq!(told, lines("a.toml", expected), "{from} -> {to}");
    }
}

/// Mistakes in a recipe file.
const IN_RECIPES: &[(&str, &str, &[&str])] = &[
    (
        "name = \"mine\"",
        "name = \"yours\"",
        &[
            "1:8: the recipe is called 'yours', but its file mine.toml (give both the same name; that is how a built-in recipe is overridden)",
        ],
    ),
    (
        "intents = [\"test\"]",
        "intents = []\npriority = 9999999999",
        &[
            "3:1: intents has nothing the recipe serves (write intents = [\"test\"])",
            "4:12: priority can't be 9999999999 (write a number such as 50)",
        ],
    ),
    (
        "[detect]\nany_files = [\"mine.txt\"]",
        "",
        &[
            "1:1: the table [detect] is missing (write [detect] and any_files = [\"...\"] below, or nothing below it to fit any project)",
        ],
    ),
    (
        "\"mine.txt\"]",
        "\"[a\", \"../x\"]\ncontains = [{ file = \"x\" }, { txt = \"y\" }]",
        &[
            "6:14: '[a' is not a glob: unclosed character class; missing ']' (`*` is one name, `**` any folders)",
            "6:20: '../x' leads out of the workspace (write it relative to the project, without '..')",
            "7:13: contains asks nothing of the manifest (write keys = [...] or text = \"...\")",
            "7:29: contains asks nothing of the manifest (write keys = [...] or text = \"...\")",
            "7:29: detect.contains.file is missing (write file = \"pyproject.toml\")",
            "7:31: unknown key detect.contains.txt (did you mean 'text'?)",
        ],
    ),
    (
        "type = \"list\"",
        "type = \"lst\"\nform = \"nmae\"\nwrap = \"x\"",
        &[
            "9:8: 'lst' is not known here (did you mean 'list'?)",
            "10:8: 'nmae' is not known here (did you mean 'name'?)",
            "11:8: wrap must have {value} once (write for instance wrap = \".[{value}]\")",
        ],
    ),
    (
        "type = \"list\"",
        "type = \"boolean\"",
        &["8:13: a boolean parameter says nothing when it is true (write when_true = [\"--flag\"])"],
    ),
    (
        "needs = [{ tool = \"mine\", hint = \"install mine\" }]",
        "needs = [{ tol = \"mine\", min_version = \"new\" }]",
        &[
            "14:10: variants.needs.hint is missing (write hint = \"install ...\")",
            "14:10: variants.needs.tool is missing (write tool = \"python3\")",
            "14:12: unknown key variants.needs.tol (did you mean 'tool'?)",
            "14:40: 'new' is not a version (write dotted numbers, such as \"3.9\")",
        ],
    ),
    (
        "\"{args}\"",
        "\"{arg}\", \"{file:[}\"",
        &[
            "19:17: there is no parameter 'arg' (did you mean 'args'?)",
            "19:26: '[' is not a glob: unclosed character class; missing ']' (`*` is one name, `**` any folders)",
        ],
    ),
    (
        "\"mine\", \"{args}\"",
        "\"{args}\"",
        &["19:9: the program of a step can't be a placeholder (write the program itself)"],
    ),
    (
        "\"mine\", \"{args}\"",
        "\"sh\", \"-ec\", \"{args}\"",
        &[
            "19:22: {args} would become program text of sh (what callers give is only ever an argument; put the program into a file or the recipe)",
        ],
    ),
    (
        "\"mine\", \"{args}\"",
        "\"/usr/bin/python3\", \"-c\", \"{args}\"",
        &[
            "19:35: {args} would become program text of python3 (what callers give is only ever an argument; put the program into a file or the recipe)",
        ],
    ),
    (
        "argv = [\"mine\", \"{args}\"]",
        "argv = []",
        &["19:1: the step doesn't say what to run (write argv = [\"program\", \"argument\"])"],
    ),
    (
        "effects = [\"runs_code\"]",
        "",
        &[
            "16:1: the step doesn't say what it does to the world (write effects = [\"workspace\"], and add \"network\", \"runs_code\" or \"target\" where they are true)",
        ],
    ),
    (
        "effects = [\"runs_code\"]",
        "effects = [\"run_code\"]\nreader = \"junit\"",
        &[
            "16:1: reader \"junit\" needs reports (write reports = [\".clawhand/junit.xml\"])",
            "20:12: 'run_code' is not known here (did you mean 'runs_code'?)",
        ],
    ),
    (
        "effects = [\"runs_code\"]",
        "effects = []\nreports = [\"x.xml\"]\nreader = \"tapp\"",
        &[
            "16:1: reports are for reader \"junit\" only (write reader = \"junit\" or remove them)",
            "22:10: 'tapp' is not known here (did you mean 'tap'?)",
        ],
    ),
    (
        "effects = [\"runs_code\"]",
        "effects = []\nintents = [\"tests\"]\ncwd = \"/x\"\ntimeout = \"x\"\naccepted_exit_codes = [0]\nif_parameters = [\"arg\"]",
        &[
            "21:12: the recipe doesn't serve the intent 'tests' (did you mean 'test'?)",
            "22:7: '/x' leads out of the workspace (write it relative to the project)",
            "23:11: 'x' is not a duration for timeout (write a number with a unit, such as \"30s\", \"15m\", \"2h\" or \"1d\")",
            "24:24: 0 is not an exit code (write 1 to 255)",
            "25:18: there is no parameter 'arg' (did you mean 'args'?)",
        ],
    ),
    (
        "effects = [\"runs_code\"]",
        "effects = []\nenv = { \"1\" = \"x\" }\n[[variants.steps]]\nname = \"test\"\nsummary = \"s\"\nargv = [\"x\"]\neffects = []",
        &[
            "21:9: '1' can't be the name of an environment variable (use letters, digits and '_')",
            "22:1: the step 'test' is there twice in its variant (rename one)",
        ],
    ),
    (
        "effects = [\"runs_code\"]",
        "effects = []\n[[variants]]\nname = \"only\"",
        &[
            "21:1: the variant has no step (write [[variants.steps]] below it)",
            "22:8: the variant 'only' is there twice (rename one)",
        ],
    ),
];

#[test]
fn mistakes_in_recipes_are_told_where_they_are() {
    assert_eq!(told(&[("recipes/mine.toml", RECIPE)]), [""; 0]);
    for (from, to, expected) in IN_RECIPES {
        let text = RECIPE.replace(from, to);
        assert_ne!(text, RECIPE, "{from}");
        let told = told(&[("recipes/mine.toml", &text)]);
        assert_eq!(told, lines("recipes/mine.toml", expected), "{from} -> {to}");
    }
}

#[test]
fn names_are_unique_across_files_whatever_their_order() {
    let second = GOOD
        .replace("one", "two")
        .replace("intents", "aliases = [\"ONE\", \"both\"]\nintents");
    let third = GOOD
        .replace("one", "three")
        .replace("intents", "aliases = [\"Both\"]\nintents");
    let expected = [
        "b.toml:3:12: 'one' is a name in a.toml already (names and aliases are unique; rename one)",
        "c.toml:3:12: 'both' is a name in b.toml already (names and aliases are unique; rename one)",
    ];
    assert_eq!(
        told(&[("a.toml", GOOD), ("b.toml", &second), ("c.toml", &third)]),
        expected
    );
    assert_eq!(
        told(&[("c.toml", &third), ("b.toml", &second), ("a.toml", GOOD)]),
        expected
    );
}

#[test]
fn all_mistakes_of_all_files_are_told_at_once() {
    let broken_recipe = RECIPE.replace("summary", "sumary");
    let files: &[(&str, &str)] = &[
        ("b.toml", "nothing"),
        ("a.toml", "name = \"a\""),
        ("recipes/mine.toml", &broken_recipe),
        ("recipes/x.toml", ""),
    ];
    let problems = loaded(files).expect_err("mistakes");
    let places: Vec<String> = problems.iter().map(|p| format!("{}:{}", p.file, p.line)).collect();
    assert_eq!(
        places,
        [
            "a.toml:1",
            "a.toml:1",
            "a.toml:1",
            "b.toml:1",
            "recipes/mine.toml:16",
            "recipes/mine.toml:18"
        ]
        .into_iter()
        .chain(["recipes/x.toml:1"; 5])
        .collect::<Vec<_>>()
    );
}
