//! COVERAGE.md: which row of the mission is exercised by which test, read from the tags.
//!
//! A test carries `// row: F07, F08` on or in it; a conformance case carries
//! `rows = ["S01"]`. The rows themselves, with the name each has in Recto and the file where it
//! is found, are `xtask/rows.toml`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use serde::Deserialize;

use crate::{Verdict, source};

const TARGET: &str = "COVERAGE.md";

#[derive(Deserialize)]
struct Rows {
    row: Vec<Row>,
}

#[derive(Deserialize)]
struct Row {
    /// `F07`.
    id: String,
    /// What the field calls it.
    name: String,
    /// What Recto calls it; absent while it does not exist.
    ours: Option<String>,
    /// Where it is.
    file: Option<String>,
}

#[derive(Deserialize)]
struct CaseFile {
    #[serde(default)]
    case: Vec<CaseTags>,
}

#[derive(Deserialize)]
struct CaseTags {
    name: String,
    #[serde(default)]
    rows: Vec<String>,
}

type Tests = BTreeMap<String, Vec<String>>;

/// Compares COVERAGE.md with the tags.
pub(crate) fn check(root: &Path) -> Verdict {
    let (text, summary) = generate(root)?;
    let written = fs::read_to_string(root.join(TARGET)).unwrap_or_default();
    if written == text {
        Ok(summary)
    } else {
        Err(vec![format!(
            "{TARGET} is out of date: run cargo xtask coverage --write"
        )])
    }
}

/// Writes COVERAGE.md from the tags.
pub(crate) fn write(root: &Path) -> Verdict {
    let (text, summary) = generate(root)?;
    fs::write(root.join(TARGET), text).map_err(|error| vec![format!("{TARGET}: {error}")])?;
    Ok(summary)
}

fn generate(root: &Path) -> Result<(String, String), Vec<String>> {
    let mut findings = Vec::new();
    let rows = read_rows(root).map_err(|error| vec![error])?;
    let mut tests = Tests::new();
    for file in source::rust_files(root) {
        tags_of_file(&file, &mut tests);
    }
    tags_of_cases(root, &mut tests, &mut findings);
    for (id, places) in &tests {
        if !rows.iter().any(|row| row.id == *id) {
            findings.push(format!("{}: tag {id} names no row", places.join(", ")));
        }
    }
    for row in &rows {
        if let Some(file) = row.file.as_ref().filter(|file| !root.join(file).exists()) {
            findings.push(format!("xtask/rows.toml: {}: no file {file}", row.id));
        }
    }
    if findings.is_empty() {
        Ok(render(&rows, &tests))
    } else {
        Err(findings)
    }
}

fn read_rows(root: &Path) -> Result<Vec<Row>, String> {
    let path = root.join("xtask/rows.toml");
    let text = fs::read_to_string(&path).map_err(|error| format!("xtask/rows.toml: {error}"))?;
    let rows: Rows = toml::from_str(&text).map_err(|error| format!("xtask/rows.toml: {error}"))?;
    Ok(rows.row)
}

fn tags_of_file(file: &source::RustFile, tests: &mut Tests) {
    let lines: Vec<&str> = file.text.lines().collect();
    for (number, line) in lines.iter().enumerate() {
        let Some(ids) = line.trim_start().strip_prefix("// row:") else {
            continue;
        };
        let Some(function) = tagged_function(&lines, number) else {
            continue;
        };
        let place = format!("{}: {function}", file.path.display());
        for id in ids
            .split(|c: char| !c.is_alphanumeric())
            .filter(|word| is_row(word))
        {
            let places = tests.entry(id.to_string()).or_default();
            if !places.contains(&place) {
                places.push(place.clone());
            }
        }
    }
}

/// `F07` and the like: a letter and two digits. Other words on a tag line are for readers.
fn is_row(word: &str) -> bool {
    let mut letters = word.chars();
    letters.next().is_some_and(|c| c.is_ascii_uppercase())
        && word.len() == 3
        && letters.all(|c| c.is_ascii_digit())
}

/// The function that a tag stands on (above it) or in (below its head).
fn tagged_function(lines: &[&str], tag: usize) -> Option<String> {
    let indent = |line: &str| line.len() - line.trim_start().len();
    let below = lines[tag + 1..]
        .iter()
        .take(12)
        .take_while(|line| !line.trim().is_empty());
    let on = below
        .filter(|line| indent(line) == indent(lines[tag]))
        .find_map(|line| function_name(line));
    on.or_else(|| {
        lines[..tag]
            .iter()
            .rev()
            .find_map(|line| function_name(line))
    })
}

fn function_name(line: &str) -> Option<String> {
    let rest = line
        .split_once("fn ")
        .filter(|(before, _)| !before.contains("//"))?
        .1;
    let name: String = rest
        .chars()
        .take_while(|c| c.is_alphanumeric() || *c == '_')
        .collect();
    (!name.is_empty()).then_some(name)
}

fn tags_of_cases(root: &Path, tests: &mut Tests, findings: &mut Vec<String>) {
    for path in source::files(&root.join("conformance/cases"), "toml") {
        let shown = path
            .strip_prefix(root)
            .unwrap_or(&path)
            .display()
            .to_string();
        let text = fs::read_to_string(&path).unwrap_or_default();
        match toml::from_str::<CaseFile>(&text) {
            Ok(file) => {
                for case in file.case {
                    for id in case.rows {
                        tests
                            .entry(id)
                            .or_default()
                            .push(format!("{shown}: {}", case.name));
                    }
                }
            }
            Err(error) => findings.push(format!("{shown}: {error}")),
        }
    }
}

fn render(rows: &[Row], tests: &Tests) -> (String, String) {
    const SHOWN: usize = 4;
    let mut text = String::from(
        "# Coverage\n\nGenerated by `cargo xtask coverage --write` from the row tags in the tests; \
         not written by hand.\n\n| row | the field's name | ours | file | tests |\n|---|---|---|---|---|\n",
    );
    let mut covered = 0;
    for row in rows {
        let places = tests.get(&row.id).map_or(&[][..], Vec::as_slice);
        covered += usize::from(!places.is_empty());
        let mut shown: Vec<String> = places
            .iter()
            .take(SHOWN)
            .map(|place| format!("`{place}`"))
            .collect();
        if places.len() > SHOWN {
            shown.push(format!("and {} more", places.len() - SHOWN));
        }
        let listed = if shown.is_empty() {
            "**missing**".to_string()
        } else {
            shown.join("<br>")
        };
        let code = |value: &Option<String>| {
            value
                .as_ref()
                .map_or_else(|| "-".to_string(), |value| format!("`{value}`"))
        };
        let (ours, file) = (code(&row.ours), code(&row.file));
        let _ = writeln!(
            text,
            "| {} | {} | {ours} | {file} | {listed} |",
            row.id, row.name
        );
    }
    let summary = format!("coverage: {covered} of {} rows have a test", rows.len());
    let _ = write!(text, "\n{covered} of {} rows have a test.\n", rows.len());
    (text, summary)
}
