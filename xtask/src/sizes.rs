//! Budgets: what does not fit a screen is not read.

use std::path::Path;

use syn::spanned::Spanned;
use syn::visit::Visit;

use crate::{Verdict, source};

const FUNCTION_LINES: usize = 60;
const FILE_LINES: usize = 500;
const PARAMETERS: usize = 6;

/// Functions of at most 60 lines, files of at most 500 without tests, few parameters, no `bool`
/// parameter.
pub(crate) fn check(root: &Path) -> Verdict {
    let mut findings = Vec::new();
    let mut functions = 0;
    let files = source::rust_files(root);
    for file in files
        .iter()
        .filter(|file| !source::is_test_file(&file.path))
    {
        let mut budget = Budget {
            path: &file.path,
            test_lines: 0,
            functions: 0,
            findings: vec![],
        };
        budget.visit_file(&file.syntax);
        let lines = file.text.lines().count().saturating_sub(budget.test_lines);
        if lines > FILE_LINES {
            findings.push(format!(
                "{}: {lines} lines, at most {FILE_LINES}",
                file.path.display()
            ));
        }
        functions += budget.functions;
        findings.append(&mut budget.findings);
    }
    if findings.is_empty() {
        Ok(format!(
            "sizes: {functions} functions in {} files within budget",
            files.len()
        ))
    } else {
        Err(findings)
    }
}

struct Budget<'a> {
    path: &'a Path,
    test_lines: usize,
    functions: usize,
    findings: Vec<String>,
}

impl Budget<'_> {
    fn function(&mut self, signature: &syn::Signature, body: &syn::Block) {
        self.functions += 1;
        let first = signature.span().start().line;
        let lines = body.span().end().line + 1 - first;
        let place = format!("{}:{first}: {}", self.path.display(), signature.ident);
        if lines > FUNCTION_LINES {
            self.findings
                .push(format!("{place}: {lines} lines, at most {FUNCTION_LINES}"));
        }
        if signature.inputs.len() > PARAMETERS {
            let count = signature.inputs.len();
            self.findings
                .push(format!("{place}: {count} parameters, at most {PARAMETERS}"));
        }
        for input in &signature.inputs {
            if let syn::FnArg::Typed(typed) = input
                && matches!(&*typed.ty, syn::Type::Path(path) if path.path.is_ident("bool"))
            {
                self.findings
                    .push(format!("{place}: a bool parameter; name the two cases"));
            }
        }
    }
}

impl<'ast> Visit<'ast> for Budget<'_> {
    fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
        if source::is_test_item(&module.attrs) {
            let span = module.span();
            self.test_lines += span.end().line + 1 - span.start().line;
        } else {
            syn::visit::visit_item_mod(self, module);
        }
    }

    fn visit_item_fn(&mut self, function: &'ast syn::ItemFn) {
        self.function(&function.sig, &function.block);
        syn::visit::visit_item_fn(self, function);
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        self.function(&function.sig, &function.block);
        syn::visit::visit_impl_item_fn(self, function);
    }

    fn visit_trait_item_fn(&mut self, function: &'ast syn::TraitItemFn) {
        if let Some(body) = &function.default {
            self.function(&function.sig, body);
        }
        syn::visit::visit_trait_item_fn(self, function);
    }
}
