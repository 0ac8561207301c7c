//! Recipes: how a kind of project is built, tested, run or deployed, as data.

use std::collections::BTreeMap;

use super::plan::{Effect, ResultReader};

/// What a project must look like for a recipe to fit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Detect {
    /// One of these globs must match a file; empty asks for nothing.
    pub any_files: Vec<String>,
    /// Each of these globs must match a file.
    pub all_files: Vec<String>,
    /// None of these globs may match a file.
    pub no_files: Vec<String>,
    /// Each of these manifests must say what is asked of it.
    pub contains: Vec<Contains>,
}

/// What a manifest must say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Contains {
    /// The manifest's path.
    pub file: String,
    /// One of these keys must be there; empty asks for nothing. In TOML and JSON a key is a dotted path
    /// (`project.optional-dependencies.test`), in a makefile the name of a rule.
    pub keys: Vec<String>,
    /// A text that must be in it; with `keys`, in the value of one of them.
    pub text: Option<String>,
}

/// The type of a declared parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParameterType {
    /// One argument.
    String,
    /// A whole number, as one argument.
    Integer,
    /// Present or not: `when_true` is inserted.
    Boolean,
    /// Several arguments.
    List,
}

/// What the values of a parameter may look like, beside what holds for all of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ValueForm {
    /// Any text.
    #[default]
    Text,
    /// Letters, digits, `.`, `_` and `-`, such as the name of a module or an extra.
    Name,
    /// A path inside the workspace.
    Path,
}

/// A value that a caller may give; it only ever becomes whole arguments, never part of a shell text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parameter {
    /// Its type.
    pub kind: ParameterType,
    /// What its values may look like.
    pub form: ValueForm,
    /// For callers.
    pub description: String,
    /// Whether the plan needs it.
    pub required: bool,
    /// Inserted when the caller gives nothing.
    pub default: Vec<String>,
    /// What each value is put into, in place of `{value}`, to become one argument: `.[{value}]`.
    pub wrap: Option<String>,
    /// Inserted when a boolean is true.
    pub when_true: Vec<String>,
    /// Each value must be one of these; empty allows any.
    pub one_of: Vec<String>,
    /// Whether values may begin with `-`. Off, so that a value can't become an option.
    pub allow_options: bool,
}

/// A tool that a variant needs on the target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolNeed {
    /// Its command name.
    pub tool: String,
    /// At least this version ("3.9").
    pub min_version: Option<String>,
    /// What to install when it's missing.
    pub hint: String,
}

/// A step as a recipe writes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecipeStep {
    /// Short, unique in its variant.
    pub name: String,
    /// In words.
    pub summary: String,
    /// Arguments; one that is exactly `{name}` is replaced by the arguments of that parameter, and `{file:GLOB|GLOB}`
    /// by the first file that matches the first glob that matches any.
    pub argv: Vec<String>,
    /// The intents it is part of; empty is all that the recipe serves.
    pub intents: Vec<String>,
    /// Only if one of these globs matches a file; empty asks for nothing.
    pub if_files: Vec<String>,
    /// Only if none of these globs matches a file.
    pub unless_files: Vec<String>,
    /// Only if each of these manifests says what is asked of it.
    pub if_contains: Vec<Contains>,
    /// Only if none of these manifests says so.
    pub unless_contains: Vec<Contains>,
    /// Only if each of these parameters has a value.
    pub if_parameters: Vec<String>,
    /// Only if none of these parameters has a value.
    pub unless_parameters: Vec<String>,
    /// Tools that this step needs beside those of its variant.
    pub needs: Vec<ToolNeed>,
    /// Relative to the workspace.
    pub cwd: String,
    /// Environment for this step.
    pub env: BTreeMap<String, String>,
    /// What it does to the world.
    pub effects: Vec<Effect>,
    /// Whether it only prepares for others: a plan of such steps alone would do nothing that was asked for.
    pub setup: bool,
    /// Whether it may be started again when the infrastructure was lost.
    pub repeatable: bool,
    /// From start to end, in seconds; the target's limit without it.
    pub timeout_s: Option<u64>,
    /// How its results are read.
    pub reader: ResultReader,
    /// Exit codes beside 0 that mean the work said yes.
    pub accepted_exit_codes: Vec<i32>,
}

/// One way to carry a recipe out, chosen by the target's facts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variant {
    /// Its name.
    pub name: String,
    /// What the target must have.
    pub needs: Vec<ToolNeed>,
    /// Capabilities that the target must declare, such as `gpu`.
    pub capabilities: Vec<String>,
    /// Only if one of these globs matches a file; empty asks for nothing.
    pub if_files: Vec<String>,
    /// In order.
    pub steps: Vec<RecipeStep>,
}

/// How a kind of project is worked on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipe {
    /// Its name.
    pub name: String,
    /// For people: "a Python project".
    pub title: String,
    /// The intents it serves.
    pub intents: Vec<String>,
    /// Where several fit, the highest wins.
    pub priority: i32,
    /// What the project must look like.
    pub detect: Detect,
    /// What a caller may give, by name.
    pub parameters: BTreeMap<String, Parameter>,
    /// In order of preference.
    pub variants: Vec<Variant>,
    /// Globs of files to collect afterwards.
    pub outputs: Vec<String>,
}
