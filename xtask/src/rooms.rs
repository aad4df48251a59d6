//! Unsafe code lives in named rooms, each opened with its reason.

use std::path::Path;

use syn::visit::Visit;

use crate::{Verdict, source};

/// The rooms: files, or folders whose every file is one.
const ROOMS: &[&str] = &[
    "crates/sync/src/epoch.rs",
    "crates/frame/src/arena.rs",
    "crates/frame/src/words",
    "machines/traced/src/sys",
    "conformance/src/host",
    "benches/src/sys.rs",
];

/// Crates that forbid unsafe code outright: everything above `frame` but the machines that talk
/// to a host.
const FORBIDDING: &[&str] = &[
    "crates/addr/src/lib.rs",
    "crates/machine/src/lib.rs",
    "crates/pgtable/src/lib.rs",
    "crates/object/src/lib.rs",
    "crates/vma/src/lib.rs",
    "crates/mm/src/lib.rs",
    "machines/soft/src/lib.rs",
    "src/lib.rs",
    "cli/src/main.rs",
    "xtask/src/main.rs",
];

/// Unsafe appears in rooms only; rooms say why; the rest of the core forbids it.
pub(crate) fn check(root: &Path) -> Verdict {
    let mut findings = Vec::new();
    let mut rooms = 0;
    let mut blocks = 0;
    for file in source::rust_files(root) {
        let mut unsafety = Unsafety { lines: vec![] };
        unsafety.visit_file(&file.syntax);
        if unsafety.lines.is_empty() {
            continue;
        }
        rooms += 1;
        blocks += unsafety.lines.len();
        if !ROOMS.iter().any(|room| file.path.starts_with(room)) {
            for line in unsafety.lines {
                findings.push(format!(
                    "{}:{line}: unsafe outside the rooms",
                    file.path.display()
                ));
            }
        } else if !opens_with_reason(root, &file) {
            let path = file.path.display();
            findings.push(format!(
                "{path}: a room opens with #![expect(unsafe_code, reason = …)]"
            ));
        }
    }
    for path in FORBIDDING {
        let text = std::fs::read_to_string(root.join(path)).unwrap_or_default();
        if !text.contains("#![forbid(unsafe_code)]") {
            findings.push(format!("{path}: must #![forbid(unsafe_code)]"));
        }
    }
    if findings.is_empty() {
        Ok(format!(
            "unsafe-rooms: {blocks} unsafe places in {rooms} rooms"
        ))
    } else {
        Err(findings)
    }
}

/// Whether the file, or the module above it, has `expect(unsafe_code, reason = …)`.
fn opens_with_reason(root: &Path, file: &source::RustFile) -> bool {
    let says = |text: &str| {
        let packed: String = text.chars().filter(|c| !c.is_whitespace()).collect();
        packed.contains("expect(unsafe_code,reason=")
    };
    let above = file
        .path
        .parent()
        .map(|folder| root.join(folder).with_extension("rs"));
    says(&file.text)
        || above
            .and_then(|path| std::fs::read_to_string(path).ok())
            .is_some_and(|text| says(&text))
}

struct Unsafety {
    lines: Vec<usize>,
}

impl<'ast> Visit<'ast> for Unsafety {
    fn visit_expr_unsafe(&mut self, block: &'ast syn::ExprUnsafe) {
        self.lines.push(block.unsafe_token.span.start().line);
        syn::visit::visit_expr_unsafe(self, block);
    }

    fn visit_signature(&mut self, signature: &'ast syn::Signature) {
        if let Some(token) = signature.unsafety {
            self.lines.push(token.span.start().line);
        }
        syn::visit::visit_signature(self, signature);
    }

    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        if let Some(token) = item.unsafety {
            self.lines.push(token.span.start().line);
        }
        syn::visit::visit_item_impl(self, item);
    }
}
