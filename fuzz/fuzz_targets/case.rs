//! Any text is a file of conformance cases, or an error that says where.

#![no_main]

use libfuzzer_sys::fuzz_target;
use serde::Deserialize;

#[derive(Deserialize)]
struct CaseFile {
    case: Vec<conformance::case::Case>,
}

fuzz_target!(|text: &str| {
    match toml::from_str::<CaseFile>(text) {
        Ok(file) => drop(std::hint::black_box(file.case)),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});
