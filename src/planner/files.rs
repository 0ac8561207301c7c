//! Globs over the files of a task.

use globset::{GlobBuilder, GlobMatcher};

use crate::domain::{Code, Listing, Refusal};

/// A glob as recipes write it: `*` stays within one folder, `**` crosses folders.
fn matcher(glob: &str) -> Result<GlobMatcher, Refusal> {
    let built = GlobBuilder::new(glob).literal_separator(true).build();
    built.map(|glob| glob.compile_matcher()).map_err(|why| {
        Refusal::new(
            Code::Internal,
            format!("a recipe has a glob that can't be read: {why}"),
            "the operator corrects the recipe; `clawhand targets check` shows where",
        )
    })
}

/// The first file, in the order of paths, that matches the first of the globs that matches any.
pub(super) fn first<'a>(listing: &'a Listing, globs: &[String]) -> Result<Option<&'a str>, Refusal> {
    for glob in globs {
        let matcher = matcher(glob)?;
        if let Some(path) = listing.files.keys().find(|path| matcher.is_match(path)) {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

/// Whether any file matches any of the globs.
pub(super) fn any(listing: &Listing, globs: &[String]) -> Result<bool, Refusal> {
    Ok(first(listing, globs)?.is_some())
}

/// The first glob that no file matches.
pub(super) fn unmatched<'a>(listing: &Listing, globs: &'a [String]) -> Result<Option<&'a str>, Refusal> {
    for glob in globs {
        if !any(listing, std::slice::from_ref(glob))? {
            return Ok(Some(glob));
        }
    }
    Ok(None)
}
