//! A step of a recipe file.

use std::collections::BTreeMap;

use super::fields::{At, Section};
use super::problem::suggest;
use super::recipe_file::{contains, needs, one_of};
use super::target_file::duration;
use super::words;
use crate::domain::plan::{Effect, ResultReader};
use crate::domain::recipe::{Parameter, RecipeStep};

/// What the rest of the recipe declares.
pub(super) struct Known<'a> {
    pub intents: &'a [String],
    pub parameters: &'a BTreeMap<String, Parameter>,
}

/// The steps of a variant.
pub(super) fn steps(variant: &Section<'_, '_>, known: &Known<'_>) -> Vec<RecipeStep> {
    let mut steps: Vec<RecipeStep> = Vec::new();
    for section in variant.tables("steps") {
        let step = step(&section, known);
        if steps.iter().any(|other| other.name == step.name) {
            let message = format!("the step '{}' is there twice in its variant", step.name);
            section.source().problem(section.at(), message, "rename one");
        }
        section.close();
        steps.push(step);
    }
    if steps.is_empty() {
        variant.source().problem(
            variant.at(),
            "the variant has no step",
            "write [[variants.steps]] below it",
        );
    }
    steps
}

fn step(section: &Section<'_, '_>, known: &Known<'_>) -> RecipeStep {
    let source = section.source();
    let name = section.required("name", "\"test\"");
    if let Some(name) = name.as_ref().filter(|name| !words::is_word(&name.value)) {
        let message = format!("'{}' can't be the name of a step", name.value);
        source.problem(name.at, message, "use lower-case letters, digits, '-' and '_'");
    }
    let summary = section.required("summary", "\"run the tests\"");
    let argv = argv(section, known);
    let intents = words::intents(source, section.texts("intents"));
    for intent in intents.iter().filter(|intent| !known.intents.contains(&intent.value)) {
        let served: Vec<&str> = known.intents.iter().map(String::as_str).collect();
        let message = format!("the recipe doesn't serve the intent '{}'", intent.value);
        source.problem(intent.at, message, suggest(&intent.value, &served));
    }
    let cwd = section.text("cwd");
    if let Some(cwd) = cwd.as_ref().filter(|cwd| !words::is_inside(&cwd.value)) {
        source.problem(
            cwd.at,
            format!("'{}' leads out of the workspace", cwd.value),
            "write it relative to the project",
        );
    }
    RecipeStep {
        name: name.map(|name| name.value).unwrap_or_default(),
        summary: summary.map(|text| text.value).unwrap_or_default(),
        argv,
        intents: words::plain(intents),
        if_files: words::globs(source, section.texts("if_files")),
        unless_files: words::globs(source, section.texts("unless_files")),
        if_contains: contains(section, "if_contains"),
        unless_contains: contains(section, "unless_contains"),
        if_parameters: declared(section, "if_parameters", known),
        unless_parameters: declared(section, "unless_parameters", known),
        needs: needs(section),
        cwd: cwd.map(|cwd| cwd.value).unwrap_or_default(),
        env: env(section),
        effects: effects(section),
        setup: section.flag("setup").unwrap_or(false),
        repeatable: section.flag("repeatable").unwrap_or(false),
        timeout_s: duration(section, "timeout").map(|timeout| timeout.as_secs()),
        reader: reader(section),
        accepted_exit_codes: exit_codes(section),
    }
}

/// The arguments, with every placeholder checked.
fn argv(section: &Section<'_, '_>, known: &Known<'_>) -> Vec<String> {
    let source = section.source();
    let argv = section.texts("argv");
    let Some(program) = argv.first() else {
        let at = section.place("argv").unwrap_or(section.at());
        source.problem(
            at,
            "the step doesn't say what to run",
            "write argv = [\"program\", \"argument\"]",
        );
        return Vec::new();
    };
    if program.value.starts_with('{') || program.value.is_empty() {
        source.problem(
            program.at,
            "the program of a step can't be a placeholder",
            "write the program itself",
        );
    }
    code_from_caller(section, program, &argv);
    for argument in &argv {
        let Some(inside) = argument.value.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) else {
            inside_a_text(section, argument, known);
            continue;
        };
        match inside.strip_prefix("file:") {
            Some(globs) => globs.split('|').for_each(|glob| {
                words::check_glob(source, glob, argument.at);
            }),
            None => parameter_exists(section, inside, argument.at, known),
        }
    }
    words::plain(argv)
}

/// A placeholder that is only a part of an argument would stay as it is.
fn inside_a_text(section: &Section<'_, '_>, argument: &At<String>, known: &Known<'_>) {
    for name in known
        .parameters
        .keys()
        .filter(|name| argument.value.contains(&format!("{{{name}}}")))
    {
        section.source().problem(
            argument.at,
            format!("{{{name}}} is only a part of its argument"),
            "a placeholder is a whole argument; give the parameter a wrap = \"--option={value}\"",
        );
    }
}

/// A value of a caller must never become program text of an interpreter.
fn code_from_caller(section: &Section<'_, '_>, program: &At<String>, argv: &[At<String>]) {
    let name = program.value.rsplit('/').next().unwrap_or_default();
    let codes: &[&str] = match name {
        "sh" | "bash" | "dash" | "zsh" | "ksh" | "python" | "python3" => &["-c"],
        "node" => &["-e", "-p", "--eval", "--print"],
        "perl" | "ruby" => &["-e", "-E"],
        "php" => &["-r"],
        _ => return,
    };
    // After -m, or after what is no option, options are those of the program that the interpreter runs.
    let own = |pair: &&[At<String>]| {
        pair.first()
            .is_some_and(|arg| arg.value.starts_with('-') && arg.value != "-m")
    };
    for pair in argv.windows(2).skip(1).take_while(own) {
        let [option, argument] = pair else { continue };
        let shell = name.ends_with("sh") && !option.value.starts_with("--") && option.value.ends_with('c');
        if (shell || codes.contains(&option.value.as_str())) && argument.value.starts_with('{') {
            section.source().problem(
                argument.at,
                format!("{} would become program text of {name}", argument.value),
                "what callers give is only ever an argument; put the program into a file or the recipe",
            );
        }
    }
}

fn parameter_exists(section: &Section<'_, '_>, name: &str, at: usize, known: &Known<'_>) {
    if !known.parameters.contains_key(name) {
        let declared: Vec<&str> = known.parameters.keys().map(String::as_str).collect();
        section
            .source()
            .problem(at, format!("there is no parameter '{name}'"), suggest(name, &declared));
    }
}

fn declared(section: &Section<'_, '_>, key: &'static str, known: &Known<'_>) -> Vec<String> {
    let names = section.texts(key);
    for name in &names {
        parameter_exists(section, &name.value, name.at, known);
    }
    words::plain(names)
}

fn env(section: &Section<'_, '_>) -> BTreeMap<String, String> {
    let mut env = BTreeMap::new();
    for entry in section.entries("env") {
        if !words::is_variable(&entry.key.value) {
            let message = format!("'{}' can't be the name of an environment variable", entry.key.value);
            section
                .source()
                .problem(entry.key.at, message, "use letters, digits and '_'");
        }
        if let Some(value) = entry.text() {
            env.insert(entry.key.value, value.value);
        }
    }
    env
}

fn effects(section: &Section<'_, '_>) -> Vec<Effect> {
    let known = [
        ("workspace", Effect::Workspace),
        ("network", Effect::Network),
        ("runs_code", Effect::RunsCode),
        ("target", Effect::Target),
    ];
    if section.place("effects").is_none() {
        let hint =
            "write effects = [\"workspace\"], and add \"network\", \"runs_code\" or \"target\" where they are true";
        section
            .source()
            .problem(section.at(), "the step doesn't say what it does to the world", hint);
    }
    let mut effects: Vec<Effect> = section
        .texts("effects")
        .iter()
        .filter_map(|word| one_of(section, word, &known))
        .collect();
    effects.sort();
    effects.dedup();
    effects
}

fn reader(section: &Section<'_, '_>) -> ResultReader {
    #[derive(Clone, Copy)]
    enum Word {
        Junit,
        Go,
        Cargo,
        Tap,
        ExitCode,
    }
    let known = [
        ("junit", Word::Junit),
        ("go_test_json", Word::Go),
        ("cargo_test", Word::Cargo),
        ("tap", Word::Tap),
        ("exit_code", Word::ExitCode),
    ];
    let word = section
        .text("reader")
        .and_then(|word| one_of(section, &word, &known))
        .unwrap_or(Word::ExitCode);
    let paths = words::globs(section.source(), section.texts("reports"));
    let source = section.source();
    if matches!(word, Word::Junit) && paths.is_empty() {
        source.problem(
            section.at(),
            "reader \"junit\" needs reports",
            "write reports = [\".clawhand/junit.xml\"]",
        );
    } else if !matches!(word, Word::Junit) && !paths.is_empty() {
        source.problem(
            section.at(),
            "reports are for reader \"junit\" only",
            "write reader = \"junit\" or remove them",
        );
    }
    match word {
        Word::Junit => ResultReader::Junit { paths },
        Word::Go => ResultReader::GoTestJson,
        Word::Cargo => ResultReader::CargoTest,
        Word::Tap => ResultReader::Tap,
        Word::ExitCode => ResultReader::ExitCode,
    }
}

fn exit_codes(section: &Section<'_, '_>) -> Vec<i32> {
    let mut codes = Vec::new();
    for number in section.numbers("accepted_exit_codes") {
        match i32::try_from(number.value) {
            Ok(code @ 1..=255) => codes.push(code),
            _ => section.source().problem(
                number.at,
                format!("{} is not an exit code", number.value),
                "write 1 to 255",
            ),
        }
    }
    codes
}
