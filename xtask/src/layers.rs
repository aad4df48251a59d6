//! Layers never point up: between crates by their manifests, inside `mm` by its `use` lines.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde::Deserialize;

use crate::{Verdict, source};

/// The crates, lowest first; those of one group do not use each other.
const CRATES: &[&[&str]] = &[
    &["recto-addr"],
    &["recto-sync"],
    &["recto-frame"],
    &["recto-machine"],
    &["recto-pgtable"],
    &["recto-object"],
    &["recto-vma"],
    &["recto-mm"],
    &["recto-soft", "recto-traced"],
    &["recto"],
    &["recto-cli", "recto-conformance"],
    &["recto-benches"],
];

/// The modules of `mm`, lowest first; those of one group may use each other.
const MM_MODULES: &[&[&str]] = &[
    &["accounts", "limits", "layout"],
    &["mm"],
    &["stack", "zap", "shortage"],
    &["fault"],
    &["access", "reach", "populate", "space", "views", "pagesize"],
    &[
        "map", "unmap", "protect", "pkeys", "remap", "brk", "advise", "sync", "mincore", "mlock",
        "fork", "exec", "exit", "seal",
    ],
];

#[derive(Deserialize)]
struct Manifest {
    package: Option<Package>,
    #[serde(default)]
    dependencies: BTreeMap<String, toml::Value>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
}

/// No crate depends on one beside or above it, and no module of `mm` uses one above it.
pub(crate) fn check(root: &Path) -> Verdict {
    let mut findings = Vec::new();
    let mut edges = 0;
    for path in source::files(root, "toml") {
        if path.file_name().is_some_and(|name| name == "Cargo.toml") {
            edges += check_manifest(&path, &mut findings);
        }
    }
    edges += check_mm(root, &mut findings);
    if findings.is_empty() {
        Ok(format!("layers: {edges} uses, none points up"))
    } else {
        Err(findings)
    }
}

fn rank(groups: &[&[&str]], name: &str) -> Option<usize> {
    groups.iter().position(|group| group.contains(&name))
}

fn check_manifest(path: &Path, findings: &mut Vec<String>) -> usize {
    let Ok(text) = fs::read_to_string(path) else {
        return 0;
    };
    let manifest: Manifest = match toml::from_str(&text) {
        Ok(manifest) => manifest,
        Err(error) => {
            findings.push(format!("{}: {error}", path.display()));
            return 0;
        }
    };
    let Some(name) = manifest.package.map(|package| package.name) else {
        return 0;
    };
    let Some(ours) = rank(CRATES, &name) else {
        if name.starts_with("recto") && !name.ends_with("-fuzz") {
            findings.push(format!("{}: crate {name} has no layer", path.display()));
        }
        return 0;
    };
    let mut edges = 0;
    for used in manifest.dependencies.keys() {
        if let Some(theirs) = rank(CRATES, used) {
            edges += 1;
            if theirs >= ours {
                findings.push(format!("{}: {name} must not use {used}", path.display()));
            }
        }
    }
    edges
}

fn check_mm(root: &Path, findings: &mut Vec<String>) -> usize {
    let folder = Path::new("crates/mm/src");
    let mut edges = 0;
    for file in source::rust_files(root) {
        let Ok(inside) = file.path.strip_prefix(folder) else {
            continue;
        };
        let Some(first) = inside.components().next() else {
            continue;
        };
        let module = first
            .as_os_str()
            .to_string_lossy()
            .trim_end_matches(".rs")
            .to_string();
        if module == "lib" || source::is_test_file(&file.path) {
            continue;
        }
        let Some(ours) = rank(MM_MODULES, &module) else {
            findings.push(format!(
                "{}: module {module} has no layer",
                file.path.display()
            ));
            continue;
        };
        for (number, line) in file.text.lines().enumerate() {
            let line = line.split("//").next().unwrap_or_default();
            for used in line.split("crate::").skip(1) {
                let used = used
                    .split(|c: char| !c.is_alphanumeric() && c != '_')
                    .next();
                let theirs = used.and_then(|used| rank(MM_MODULES, used));
                edges += 1;
                if theirs.is_some_and(|theirs| theirs > ours) {
                    let used = used.unwrap_or_default();
                    let place = format!("{}:{}", file.path.display(), number + 1);
                    findings.push(format!("{place}: {module} must not use {used}"));
                }
            }
        }
    }
    edges
}
