//! What the fuzz targets and the sweeps found, each with the bytes that did it.

use podcov_profile::Limits;
use podcov_profile::go::meta::read_meta;
use podcov_profile::llvm::profile::{Counts, FunctionId, Profile};
use podcov_profile::llvm::{names, text};

fn profile(functions: &[&[u8]]) -> Profile {
    let mut profile = Profile::default();
    for name in functions {
        let hash = names::hash(name);
        profile.names.insert(hash, Box::from(*name));
        let id = FunctionId {
            name: hash,
            hash: 1,
        };
        let counts = Counts {
            counters: vec![1],
            bitmap: vec![],
        };
        profile.add(id, counts).unwrap();
    }
    profile
}

/// Found by `llvm-text`: what was written could not be read. LLVM's own reader
/// takes such a line for values or a bitmap, too.
#[test]
fn a_function_called_like_a_number_or_a_bitmap_is_told_and_not_written_as_text() {
    let written = text::write(&profile(&[b"main", b"3", b"$8", b"x1"]));
    let mut unnamed: Vec<u64> = written.unnamed.iter().map(|id| id.name).collect();
    unnamed.sort_unstable();
    let mut expected = [names::hash(b"3"), names::hash(b"$8")];
    expected.sort_unstable();
    assert_eq!(unnamed, expected);
    let (again, _) = text::read(&written.bytes, &Limits::default()).unwrap();
    assert_eq!(again.functions.len(), 2);
}

/// Found by the sweeps: the position was counted from the start of the table.
#[test]
fn an_error_in_the_strings_of_go_meta_data_says_where_in_the_file() {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/fixtures/go/covmeta.365db558e60f45db96600bc1c17ccd6e"
    );
    let mut bytes = std::fs::read(path).unwrap();
    bytes[44..48].copy_from_slice(&[0; 4]);
    let error = read_meta(&bytes).unwrap_err();
    assert_eq!(error.len, bytes.len() as u64, "{error}");
    assert!(error.offset >= 56, "{error}");
}
