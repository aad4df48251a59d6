use proptest::prelude::*;

use super::*;

proptest! {
    /// A frame against an array of bytes, by whatever way in.
    #[test]
    fn bytes_are_where_they_were_put(
        writes in prop::collection::vec((0usize..4096, 0usize..300, any::<u8>()), 1..20),
        (offset, len) in (0usize..4096, 0usize..4096),
    ) {
        let arena = arena(4);
        let folio = folio(&arena);
        let mut expected = [0u8; 4096];
        for (offset, len, byte) in writes {
            let len = len.min(4096 - offset);
            let bytes: Vec<u8> = (0..len).map(|nr| byte.wrapping_add(nr as u8)).collect();
            folio.write(offset as u64, &bytes);
            expected[offset..offset + len].copy_from_slice(&bytes);
        }
        let len = len.min(4096 - offset);
        let mut found = std::vec![0; len];
        folio.read(offset as u64, &mut found);
        prop_assert_eq!(&found[..], &expected[offset..offset + len]);
        let words = arena.words(folio.pfn());
        for (index, word) in expected.as_chunks::<8>().0.iter().enumerate() {
            prop_assert_eq!(words.load(index), u64::from_ne_bytes(*word));
        }
        let copy = super::folio(&arena);
        arena.copy_frame(folio.pfn(), copy.pfn());
        let mut found = [0; 4096];
        copy.read(0, &mut found);
        prop_assert_eq!(found, expected);
        arena.zero_frame(copy.pfn());
        copy.read(0, &mut found);
        prop_assert_eq!(found, [0; 4096]);
    }
}

#[test]
fn words_are_atomic() {
    let arena = arena(4);
    let folio = folio(&arena);
    let words = arena.words(folio.pfn());
    words.store(511, 5);
    assert_eq!(words.swap(511, 6), 5);
    assert_eq!(words.compare_exchange(511, 5, 7), Err(6));
    assert_eq!(words.compare_exchange(511, 6, 8), Ok(6));
    assert_eq!(
        (
            words.fetch_or(511, 1),
            words.fetch_and(511, 1),
            words.load(511)
        ),
        (8, 9, 1)
    );
}

#[test]
fn neighbours_of_a_small_write_keep_their_changes() {
    let arena = arena(4);
    let folio = folio(&arena);
    let rounds = if cfg!(miri) { 50 } else { 20_000 };
    std::thread::scope(|scope| {
        for nr in 0..2u64 {
            let folio = &folio;
            scope.spawn(move || {
                for round in 0..rounds {
                    let byte = [(round % 251) as u8];
                    folio.write(nr, &byte);
                    let mut found = [0];
                    folio.read(nr, &mut found);
                    assert_eq!(found, byte);
                }
            });
        }
    });
}

#[test]
#[should_panic(expected = "not of this arena")]
fn a_number_of_another_arena_is_a_bug() {
    let arena = arena(4);
    let _ = arena.words(addr::Pfn::new(DEVICE_PFN_BASE));
}
