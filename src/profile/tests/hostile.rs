//! Files made to hurt their reader: each is refused in no time, within little
//! memory, by an error that says of which kind, where, and what the limit is.
//!
//! What LLVM's and Go's own tools do with the first six: three aborts, two
//! segmentation faults, 3.1 GiB in 12 s.

#[path = "../fuzz/src/counting.rs"]
mod counting;
#[path = "hostile/deflate.rs"]
mod deflate;
#[allow(dead_code, reason = "each user needs another part")]
#[path = "../fuzz/src/entries.rs"]
mod entries;
#[path = "hostile/forge.rs"]
mod forge;

use std::process::Command;
use std::time::{Duration, Instant};

use podcov_profile::ParseError;
use podcov_profile::error::Kind;

use forge::{chunk, covmap, raw, raw_with, two_names, uleb, with};

#[global_allocator]
static COUNTING: counting::Counting = counting::Counting;

/// A refusal takes no longer, and holds no more.
const TIME: Duration = Duration::from_millis(50);
const MEMORY: usize = 70 << 20;

/// Time of this thread on a processor: the machine has other work.
fn worked() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    let nanoseconds = text.split_whitespace().next().unwrap();
    Duration::from_nanos(nanoseconds.parse().unwrap())
}

/// Reads it; the fastest of a few times, because caches have other work, too.
fn refusal(entry: &str, bytes: &[u8]) -> ParseError {
    let read = entries::named(entry);
    let mut fastest = Duration::MAX;
    let mut error = None;
    for _ in 0..8 {
        let begin = worked();
        let (result, peak) = counting::peak_of(|| read(bytes));
        fastest = fastest.min(worked() - begin);
        assert!(peak <= MEMORY, "{entry}: {peak} bytes were held");
        error = Some(result.expect_err("it is refused"));
        if fastest <= TIME {
            break;
        }
    }
    assert!(fastest <= TIME, "{entry}: it took {fastest:?}");
    error.unwrap()
}

#[track_caller]
fn refused(entry: &str, bytes: &[u8], kind: Kind, at: u64, says: &[&str]) {
    let error = refusal(entry, bytes);
    assert_eq!(error.kind, kind, "{error}");
    assert_eq!(
        (error.offset, error.len),
        (at, bytes.len() as u64),
        "{error}"
    );
    let text = error.to_string();
    for word in says {
        assert!(text.contains(word), "`{word}` is not in: {text}");
    }
}

const LIMIT: &str = "50331648";

#[test]
fn a_forged_profile_that_does_not_lie_is_read_by_us_and_by_llvm() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("x.profraw");
    let bytes = raw(&chunk(3, 0, b"abc"));
    assert_eq!(entries::named("raw")(&bytes), Ok(()));
    std::fs::write(&file, bytes).unwrap();
    let mut merge = Command::new("llvm-profdata-22");
    merge.args(["merge", "-text", "-o", "-"]).arg(file);
    let output = merge
        .output()
        .expect("llvm-profdata-22 is needed: apt-get install llvm-22");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn names_that_declare_8_gib_in_472_bytes() {
    let bytes = raw(&chunk(8 << 30, 9, &[0x78; 18]));
    assert_eq!(bytes.len(), 472);
    refused("raw", &bytes, Kind::TooLarge, 448, &["8589934592", LIMIT]);
}

#[test]
fn names_that_truly_inflate_to_1_gib_from_1_mb() {
    let (packed, plain) = deflate::bomb(0, 1 << 30);
    assert!(packed.len() < 1_050_000, "{}", packed.len());
    let bytes = raw(&chunk(plain as u64, packed.len() as u64, &packed));
    refused(
        "raw",
        &bytes,
        Kind::TooLarge,
        448,
        &[&plain.to_string(), LIMIT],
    );
}

#[test]
fn names_that_inflate_to_1_gib_and_claim_1_mib() {
    let (packed, _) = deflate::bomb(0, 1 << 30);
    let bytes = raw(&chunk(1 << 20, packed.len() as u64, &packed));
    let error = refusal("raw", &bytes);
    assert!(error.to_string().contains("1048576"), "{error}");
}

#[test]
fn names_not_compressed_of_1_mib_and_of_1_tib_in_3_bytes() {
    let bytes = raw(&chunk(1 << 20, 0, b"abc"));
    assert_eq!(bytes.len(), 456);
    let error = refusal("raw", &bytes);
    assert_eq!(error.kind, Kind::Truncated, "{error}");
    assert!(
        error.offset >= 448 && error.to_string().contains("1048576"),
        "{error}"
    );
    let bytes = raw(&chunk(1 << 40, 0, b"abc"));
    assert_eq!(bytes.len(), 464);
    refused(
        "raw",
        &bytes,
        Kind::TooLarge,
        448,
        &["1099511627776", LIMIT],
    );
}

#[test]
fn bitmaps_of_more_bytes_than_there_are() {
    for claimed in [1 << 32, 1 << 40, u64::MAX, u64::MAX - 7] {
        let bytes = raw_with(&[], |header| header[7] = claimed);
        let error = refusal("raw", &bytes);
        assert!(error.to_string().contains(&claimed.to_string()), "{error}");
        assert!(error.offset <= 448, "{error}");
    }
}

#[test]
fn every_number_of_the_header_is_a_lie_in_turn() {
    for index in 0..16 {
        for claimed in [1 << 20, 1 << 32, 1 << 60, u64::MAX] {
            let bytes = raw_with(&chunk(3, 0, b"abc"), |header| header[index] = claimed);
            let read = entries::named("raw");
            let begin = Instant::now();
            let (_, peak) = counting::peak_of(|| read(&bytes));
            assert!(
                peak < 1 << 20,
                "number {index} as {claimed}: {peak} bytes were held"
            );
            assert!(begin.elapsed() < Duration::from_secs(5));
        }
    }
}

#[test]
fn bombs_of_any_ratio_are_refused_by_what_they_claim() {
    for ratio in [10, 100, 1_000] {
        let size = 64 << 20;
        let (packed, plain) = deflate::bomb(size / ratio - size / 1_032, size);
        let found = plain / packed.len();
        assert!(found.abs_diff(ratio) <= ratio / 10, "{found}");
        let bytes = raw(&chunk(plain as u64, packed.len() as u64, &packed));
        refused(
            "raw",
            &bytes,
            Kind::TooLarge,
            448,
            &[&plain.to_string(), LIMIT],
        );
    }
}

#[test]
fn bombs_in_many_small_pieces_are_refused_by_their_sum() {
    let (packed, plain) = deflate::bomb(0, 4 << 20);
    let piece = chunk(plain as u64, packed.len() as u64, &packed);
    let bytes = raw(&piece.repeat(13));
    let error = refusal("raw", &bytes);
    assert_eq!(error.kind, Kind::TooLarge, "{error}");
    assert!(error.to_string().contains(LIMIT), "{error}");
    assert!(error.offset >= 448 + 11 * piece.len() as u64, "{error}");
}

#[test]
fn a_bomb_in_a_bomb_is_inflated_once() {
    let (inner, plain) = deflate::bomb(0, 1 << 30);
    let packed = deflate::stored(&chunk(plain as u64, inner.len() as u64, &inner));
    let size = inner.len() + uleb(plain as u64).len() + uleb(inner.len() as u64).len();
    let bytes = raw(&chunk(size as u64, packed.len() as u64, &packed));
    let (result, peak) = counting::peak_of(|| entries::named("raw")(&bytes));
    // Whatever the inner bytes are, they are a name and nothing else.
    assert!(result.is_ok(), "{result:?}");
    assert!(peak <= counting::allowed(bytes.len()), "{peak}");
}

#[test]
fn names_of_200_000_functions_are_not_taken_for_a_bomb() {
    let names: Vec<String> = (0..200_000)
        .map(|index| {
            format!(
                "_RNvMs{index}_NtCs{index:x}_4kube7runtime{}poll",
                "5inner".repeat(index % 9)
            )
        })
        .collect();
    let names = names.join("\u{1}");
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut encoder, names.as_bytes()).unwrap();
    let packed = encoder.finish().unwrap();
    let bytes = raw(&chunk(names.len() as u64, packed.len() as u64, &packed));
    let (result, peak) = counting::peak_of(|| entries::named("raw")(&bytes));
    assert_eq!(result, Ok(()));
    assert!(peak <= counting::allowed(bytes.len()), "{peak}");
}

fn fixture(path: &str) -> Vec<u8> {
    let path = format!("{}/tests/fixtures/{path}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

const HASH: &str = "365db558e60f45db96600bc1c17ccd6e";

/// Offsets of `internal/coverage/defs.go`: number of packages at 16, offset
/// and size of the string table at 40 and 44, first package at 56.
#[test]
fn go_meta_data_that_claims_more_than_it_has() {
    let meta = fixture(&format!("go/covmeta.{HASH}"));
    for claimed in [u64::from(u32::MAX), 1 << 40, u64::MAX / 8 + 1, u64::MAX] {
        let error = refusal("covmeta", &with(&meta, 16, &claimed.to_le_bytes()));
        // Two tables of eight bytes for each package.
        let tables = claimed.saturating_mul(16).to_string();
        assert!(error.to_string().contains(&tables), "{error}");
    }
    for at in [40, 44] {
        for claimed in [u32::MAX, u32::MAX - 55, 1 << 31] {
            refusal("covmeta", &with(&meta, at, &claimed.to_le_bytes()));
        }
    }
    // Functions of the first package: the twelfth word of its header.
    let first = u64::from_le_bytes(meta[56..64].try_into().unwrap()) as usize;
    for claimed in [u32::MAX, 1 << 24] {
        let error = refusal("covmeta", &with(&meta, first + 40, &claimed.to_le_bytes()));
        // Four bytes of offset for each function.
        let offsets = (u64::from(claimed) * 4).to_string();
        assert!(error.to_string().contains(&offsets), "{error}");
    }
}

/// Segment header at 32: functions (8 bytes), sizes of the string table and of
/// the arguments (4 each); the number of strings comes next.
#[test]
fn go_counters_that_claim_more_than_they_have() {
    let name = format!("go/covcounters.{HASH}.2384.1795257547508204385");
    let counters = fixture(&name);
    for claimed in [u64::from(u32::MAX), 1 << 56, u64::MAX] {
        refusal("covcounters", &with(&counters, 32, &claimed.to_le_bytes()));
    }
    for at in [40, 44] {
        for claimed in [u32::MAX, 1 << 31] {
            let error = refusal("covcounters", &with(&counters, at, &claimed.to_le_bytes()));
            assert!(error.to_string().contains(&claimed.to_string()), "{error}");
        }
    }
}

#[test]
fn numbers_of_go_that_never_end() {
    let meta = fixture(&format!("go/covmeta.{HASH}"));
    let strings = u32::from_le_bytes(meta[40..44].try_into().unwrap()) as usize;
    let counters = fixture(&format!("go/covcounters.{HASH}.2384.1795257547508204385"));
    for (entry, file, at) in [("covmeta", &meta, strings), ("covcounters", &counters, 48)] {
        let room = (file.len() - at).min(10);
        let error = refusal(entry, &with(file, at, &[0xff; 10][..room]));
        assert!(error.offset as usize >= at, "{error}");
    }
}

fn program(covmap: Vec<u8>, covfun: Vec<u8>) -> Vec<u8> {
    let names = chunk(4, 0, b"main");
    forge::elf(&[
        ("__llvm_covmap", covmap),
        ("__llvm_covfun", covfun),
        ("__llvm_prf_names", names),
    ])
}

/// Of `main`, with these bytes of mapping.
fn covfun(table: &[u8], mapping: &[u8]) -> Vec<u8> {
    forge::covfun(b"main", 0x1234, table, mapping)
}

#[test]
fn a_forged_program_that_does_not_lie_is_read() {
    let table = two_names();
    // One file, no expression, one region: a counter, line 1 to 2.
    let mapping = [1, 1, 0, 1, 1, 1, 1, 1, 2];
    let bytes = program(covmap(&table), covfun(&table, &mapping));
    assert_eq!(entries::named("mapping")(&bytes), Ok(()));
}

#[test]
fn names_of_files_that_declare_8_gib_or_are_a_bomb() {
    let mut table = uleb(2);
    table.extend(chunk(8 << 30, 9, &[0x78; 9]));
    let error = refusal("mapping", &program(covmap(&table), covfun(&table, &[0; 8])));
    assert_eq!(error.kind, Kind::TooLarge, "{error}");
    assert!(error.to_string().contains("8589934592"), "{error}");
    let (packed, plain) = deflate::bomb(0, 1 << 30);
    for claimed in [plain as u64, 1 << 20] {
        let mut table = uleb(2);
        table.extend(chunk(claimed, packed.len() as u64, &packed));
        let bytes = program(covmap(&table), covfun(&table, &[0; 8]));
        let error = refusal("mapping", &bytes);
        assert!(error.to_string().contains(&claimed.to_string()), "{error}");
    }
}

#[test]
fn mappings_that_claim_files_expressions_and_regions_without_end() {
    let table = two_names();
    for claimed in [1u64 << 20, u64::from(u32::MAX), 1 << 40, u64::MAX] {
        for before in [&[][..], &[1, 1], &[1, 1, 0]] {
            let mut mapping = before.to_vec();
            mapping.extend(uleb(claimed));
            mapping.extend([0; 8]);
            let read = entries::named("mapping");
            let bytes = program(covmap(&table), covfun(&table, &mapping));
            let begin = Instant::now();
            let (result, peak) = counting::peak_of(|| read(&bytes));
            assert!(result.is_err(), "{claimed} after {before:?}");
            assert!(
                peak < 1 << 20,
                "{claimed} after {before:?}: {peak} bytes were held"
            );
            assert!(begin.elapsed() < Duration::from_secs(5));
        }
    }
}

/// Entities that grow when they are put in: not for us, who know only XML's
/// own five. And arrays in arrays.
#[test]
fn depth_costs_nothing() {
    let depth = 1 << 20;
    for text in [
        "[".repeat(depth),
        "{\"a\":".repeat(depth),
        "<a>".repeat(depth),
    ] {
        for (name, read) in entries::ENTRIES {
            let (_, peak) = counting::peak_of(|| read(text.as_bytes()));
            assert!(peak <= counting::allowed(text.len()), "{name}: {peak}");
        }
    }
}
