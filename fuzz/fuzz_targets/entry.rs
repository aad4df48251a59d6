//! Any word read as a page-table entry means something, and what it means can be written again.

#![no_main]

use libfuzzer_sys::fuzz_target;
use recto::pgtable::Entry;

fuzz_target!(|word: u64| {
    let entry = Entry::from_bits(word);
    let decoded = entry.decode();
    std::hint::black_box(format!("{decoded:?}"));
    assert_eq!(entry.bits(), word);
});
