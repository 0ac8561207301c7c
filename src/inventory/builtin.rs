//! The recipes that are part of the program. They are files like any other; one of the same name in the operator's
//! `recipes` folder takes the place of the built-in one.

/// File name and text of each.
pub(super) const RECIPES: [(&str, &str); 8] = [
    ("go.toml", include_str!("../../targets/recipes/go.toml")),
    ("make.toml", include_str!("../../targets/recipes/make.toml")),
    ("maven.toml", include_str!("../../targets/recipes/maven.toml")),
    ("node.toml", include_str!("../../targets/recipes/node.toml")),
    (
        "python-script.toml",
        include_str!("../../targets/recipes/python-script.toml"),
    ),
    ("python.toml", include_str!("../../targets/recipes/python.toml")),
    ("rust.toml", include_str!("../../targets/recipes/rust.toml")),
    ("shell.toml", include_str!("../../targets/recipes/shell.toml")),
];
