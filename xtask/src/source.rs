//! The workspace as text: which files there are, and what Rust they hold.

use std::fs;
use std::path::{Path, PathBuf};

/// A Rust file of ours, read and parsed.
pub(crate) struct RustFile {
    /// Relative to the workspace root.
    pub(crate) path: PathBuf,
    pub(crate) text: String,
    pub(crate) syntax: syn::File,
}

/// The folder that holds the workspace's Cargo.toml.
pub(crate) fn workspace_root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .map_or_else(PathBuf::new, Path::to_path_buf)
}

/// Every file below `root` with this extension, sorted, without build outputs and git's own.
pub(crate) fn files(root: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else {
            continue;
        };
        for path in entries.flatten().map(|entry| entry.path()) {
            let name = path.file_name().map(|n| n.to_string_lossy().into_owned());
            let name = name.unwrap_or_default();
            if path.is_dir() {
                if !name.starts_with('.') && !name.starts_with("target") {
                    folders.push(path);
                }
            } else if path.extension().is_some_and(|e| e == extension) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// Every Rust file of the workspace that parses; what does not is reported by the compiler.
/// Sources that must not compile (`tests/ui`) are left out.
pub(crate) fn rust_files(root: &Path) -> Vec<RustFile> {
    files(root, "rs")
        .into_iter()
        .filter(|path| !path.components().any(|c| c.as_os_str() == "ui"))
        .filter_map(|path| {
            let text = fs::read_to_string(&path).ok()?;
            let syntax = syn::parse_file(&text).ok()?;
            let path = path.strip_prefix(root).ok()?.to_path_buf();
            Some(RustFile { path, text, syntax })
        })
        .collect()
}

/// Whether the file holds tests only: the budgets for length do not apply to it.
pub(crate) fn is_test_file(path: &Path) -> bool {
    path.file_stem().is_some_and(|stem| {
        let stem = stem.to_string_lossy();
        stem == "tests" || stem.ends_with("_tests")
    }) || path.components().any(|c| c.as_os_str() == "tests")
}

/// Whether an item is compiled for tests only.
pub(crate) fn is_test_item(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let path = attribute.path();
        if path.is_ident("test") {
            return true;
        }
        path.is_ident("cfg")
            && attribute.meta.require_list().is_ok_and(|list| {
                list.tokens
                    .to_string()
                    .split(|c: char| !c.is_alphanumeric())
                    .any(|word| word == "test")
            })
    })
}
