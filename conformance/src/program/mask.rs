//! What may differ between two runs.

use regex_lite::Regex;

/// Patterns whose matches are replaced by `#`.
#[derive(Debug)]
pub(super) struct Masks(Vec<Regex>);

impl Masks {
    pub(super) fn new(patterns: &[String]) -> Result<Self, String> {
        let compiled = patterns.iter().map(|pattern| Regex::new(pattern));
        compiled
            .collect::<Result<_, _>>()
            .map(Self)
            .map_err(|error| error.to_string())
    }

    pub(super) fn apply(&self, text: &str) -> String {
        self.0.iter().fold(text.to_string(), |text, mask| {
            mask.replace_all(&text, "#").into_owned()
        })
    }
}
