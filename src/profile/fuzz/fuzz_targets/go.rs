//! Any bytes as meta-data, counters and mapped counters: what is read is
//! written and read again as the same, and nothing but whole files is added.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use podcov_profile::go::combine::Combination;
use podcov_profile::go::counters::{CounterFile, Item};
use podcov_profile::go::live::{Live, is_live};
use podcov_profile::go::meta::{Meta, read_meta};
use podcov_profile::go::report::Report;
use podcov_profile::go::sum::{Refused, Sum};

static METAS: LazyLock<Vec<Meta>> = LazyLock::new(|| {
    [
        &include_bytes!("../../tests/fixtures/go/covmeta.365db558e60f45db96600bc1c17ccd6e")[..],
        include_bytes!("../../tests/fixtures/go-live/covmeta.8e5521eaa6050ffc4493d96397aa5e35"),
    ]
    .map(|bytes| read_meta(bytes).expect("a fixture"))
    .into()
});

fn check(meta: &Meta, bytes: &[u8]) {
    let mut sum = Sum::new(meta);
    let added = match Live::parse(bytes) {
        Ok(live) => sum.add_live(&live),
        Err(_) => sum.add(bytes),
    };
    if added.is_err() {
        assert_eq!((sum.files(), sum.reached().count()), (0, 0));
        return;
    }
    let mut again = Sum::new(meta);
    again.add(&sum.to_counters()).expect("what we write");
    assert_eq!(again.counts(), sum.counts());
    let mut twice = sum.clone();
    twice.absorb(&sum).expect("the same build");
    let reports = [&sum, &twice].map(|sum| Report::new([sum]).expect("one build").total());
    assert_eq!(reports[0], reports[1]);
}

/// A checksum keeps the fuzzer from every other change to a header.
fn with_checksum(bytes: &[u8]) -> Option<Vec<u8>> {
    let length = u32::from_le_bytes(bytes.get(12..16)?.try_into().ok()?) as usize;
    let end = length.checked_sub(8)?;
    let mut sum = 0xcbf2_9ce4_8422_2325u64;
    for byte in bytes.get(..end)? {
        sum = (sum ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
    }
    let mut fixed = bytes.to_vec();
    fixed
        .get_mut(end..length)?
        .copy_from_slice(&sum.to_le_bytes());
    Some(fixed)
}

fuzz_target!(|bytes: &[u8]| {
    METAS.iter().for_each(|meta| check(meta, bytes));
    if let Some(fixed) = is_live(bytes).then(|| with_checksum(bytes)).flatten() {
        METAS.iter().for_each(|meta| check(meta, &fixed));
    }
    if let Ok(file) = CounterFile::parse(bytes) {
        let mut functions = 0u64;
        let visited = file.visit(|item| {
            functions += u64::from(matches!(item, Item::Function(_)));
            Ok::<(), Refused>(())
        });
        assert!(visited.is_err() || functions <= bytes.len() as u64 / 3);
    }
    let Ok(meta) = read_meta(bytes) else { return };
    let sum = Sum::new(&meta);
    let mut combination = Combination::new();
    combination.add(&sum).expect("one build");
    let combined = combination.finish().expect("what we write");
    let report = Report::new([&sum]).expect("one build");
    let again = combined.sum();
    let again = Report::new([&again]).expect("one build");
    assert_eq!(report.total(), again.total());
});
