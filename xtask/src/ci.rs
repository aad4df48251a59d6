//! Everything that must pass before a change lands, save the tests themselves.

use std::path::Path;
use std::process::Command;

use crate::{Verdict, coverage, layers, rooms, sizes};

/// The commands of the tool chain, and whether a missing tool is a finding.
const COMMANDS: &[(&str, &[&str])] = &[
    ("cargo", &["fmt", "--all", "--check"]),
    (
        "cargo",
        &[
            "clippy",
            "--workspace",
            "--all-targets",
            "--quiet",
            "--",
            "-D",
            "warnings",
        ],
    ),
    ("cargo", &["doc", "--workspace", "--no-deps", "--quiet"]),
];

/// Our own checks, then the tool chain's; `cargo deny` where it is installed.
pub(crate) fn run(root: &Path) -> Verdict {
    let mut findings = Vec::new();
    let own = [
        layers::check(root),
        sizes::check(root),
        rooms::check(root),
        coverage::check(root),
    ];
    for verdict in own {
        match verdict {
            Ok(summary) => println!("{summary}"),
            Err(mut found) => findings.append(&mut found),
        }
    }
    for (program, arguments) in COMMANDS {
        println!("{program} {}", arguments.join(" "));
        let status = Command::new(program)
            .args(*arguments)
            .current_dir(root)
            .status();
        if !status.is_ok_and(|status| status.success()) {
            findings.push(format!("{program} {} failed", arguments.join(" ")));
        }
    }
    findings.extend(deny(root));
    if findings.is_empty() {
        Ok("ci: all checks pass".to_string())
    } else {
        Err(findings)
    }
}

/// `cargo deny check`, offline where it must be; skipped, and said so, where it is not installed.
fn deny(root: &Path) -> Option<String> {
    let installed = Command::new("cargo").args(["deny", "--version"]).output();
    if !installed.is_ok_and(|output| output.status.success()) {
        println!("cargo deny: skipped: cargo-deny is not installed");
        return None;
    }
    let checks = ["deny", "check", "bans", "licenses", "sources"];
    let status = Command::new("cargo")
        .args(checks)
        .current_dir(root)
        .status();
    (!status.is_ok_and(|status| status.success())).then(|| "cargo deny failed".to_string())
}
