//! Mappings that were damaged or made up: nothing panics, and memory and time
//! stay in proportion.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::{self, Write};
use std::time::{Duration, Instant};

use podcov_profile::Limits;
use podcov_profile::error::Kind;
use podcov_profile::llvm::coverage::{Coverage, Evidence, Options};
use podcov_profile::llvm::json::JsonOptions;
use podcov_profile::llvm::lcov::LcovOptions;
use podcov_profile::llvm::mapping::{Mapping, Paths};
use podcov_profile::llvm::model::Detail;
use podcov_profile::llvm::names;
use podcov_profile::llvm::object;
use podcov_profile::llvm::profile::{Counts, FunctionId, Profile};

#[path = "llvm_mapping/generator.rs"]
#[allow(dead_code, reason = "the other tests use the rest")]
mod generator;
#[path = "llvm_mapping/support.rs"]
#[allow(dead_code, reason = "the other tests use the rest")]
mod support;

use generator::{Sections, program, uleb};

thread_local! {
    static NOW: Cell<usize> = const { Cell::new(0) };
    static PEAK: Cell<usize> = const { Cell::new(0) };
}

/// Counts what a thread holds.
struct Counting;

// SAFETY: every call goes to the system's allocator as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ = NOW.try_with(|now| {
            now.set(now.get().wrapping_add(layout.size()));
            let _ = PEAK.try_with(|peak| peak.set(peak.get().max(now.get())));
        });
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        let _ = NOW.try_with(|now| now.set(now.get().wrapping_sub(layout.size())));
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Runs something and says how much memory it took at most, and how long.
fn measure<T>(run: impl FnOnce() -> T) -> (T, usize, Duration) {
    let before = NOW.get();
    PEAK.set(before);
    let began = Instant::now();
    let result = run();
    (result, PEAK.get() - before, began.elapsed())
}

/// An output that only counts.
struct Nowhere(u64);

impl Write for Nowhere {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Everything that can be made of sections.
fn all(sections: &Sections, profile: &Profile) -> Result<(), (Kind, String)> {
    let object = sections.object();
    of_object(&object, profile)
}

fn of_object(object: &object::Object<'_>, profile: &Profile) -> Result<(), (Kind, String)> {
    let wrong = |error: podcov_profile::ParseError| {
        assert!(error.offset <= error.len, "{error}");
        (error.kind, error.what)
    };
    let mapping = Mapping::read(object, Paths::default(), &Limits::default()).map_err(wrong)?;
    let evidence = Evidence {
        mappings: &[&mapping],
        profile,
    };
    let coverage = Coverage::new(&[evidence], &Options::default()).map_err(wrong)?;
    let other = |error: io::Error| (Kind::TooLarge, error.to_string());
    coverage
        .write_json(&JsonOptions::default(), Nowhere(0))
        .map_err(other)?;
    coverage
        .write_lcov(&LcovOptions::default(), Nowhere(0))
        .map_err(other)?;
    for (file, name) in coverage.kept_files() {
        coverage.model(file, name, "program", Detail::Regions);
    }
    for finding in coverage.findings() {
        assert!(!finding.to_string().is_empty());
    }
    Ok(())
}

fn sections_of(sections: &mut Sections) -> [&mut Vec<u8>; 3] {
    [
        &mut sections.covmap,
        &mut sections.covfun,
        &mut sections.names,
    ]
}

#[test]
fn every_byte_of_the_sections_may_be_another() {
    let (good, profile) = program(3, 6, 12);
    let mut refused = 0;
    let mut read = 0;
    for index in 0..3 {
        let len = sections_of(&mut good.clone())[index].len();
        for at in 0..len {
            for change in [1u8, 0x04, 0x80, 0xff] {
                let mut bad = good.clone();
                sections_of(&mut bad)[index][at] ^= change;
                match all(&bad, &profile) {
                    Ok(()) => read += 1,
                    Err(_) => refused += 1,
                }
            }
        }
    }
    assert!(refused > 500 && read > 500, "{refused} {read}");
}

#[test]
fn sections_may_end_anywhere() {
    let (good, profile) = program(4, 7, 12);
    for index in 0..3 {
        let len = sections_of(&mut good.clone())[index].len();
        for at in 0..len {
            let mut bad = good.clone();
            sections_of(&mut bad)[index].truncate(at);
            let _ = all(&bad, &profile);
        }
    }
}

#[test]
fn programs_and_mapping_files_may_be_damaged_anywhere() {
    let build = support::Build::new(&[(
        "x.c",
        "#define M(a, b) ((a) && (b))\nint f(int a, int b) { if (M(a, b) || !a) return 1; return 2; }\n",
    )]);
    let mut files = Vec::new();
    for target in [
        "x86_64-linux-gnu",
        "arm64-apple-macosx13",
        "i686-pc-windows-msvc",
    ] {
        build.clang(&[
            "-target",
            target,
            "-c",
            "x.c",
            "-o",
            "x.o",
            "-fcoverage-mcdc",
            "-Os",
        ]);
        files.push(build.bytes("x.o"));
    }
    let limits = Limits::default();
    let mut mapping = Vec::new();
    let objects = object::read(files[0].as_slice(), "x.o", None, &limits).unwrap();
    objects[0].to_mapping_file(&mut mapping).unwrap();
    drop(objects);
    let mut archive = b"!<arch>\nx.o/            0           0     0     644     ".to_vec();
    archive.extend(format!("{:<10}`\n", mapping.len()).bytes());
    archive.extend(&mapping);
    files.push(mapping);
    files.push(archive);
    // The function is in the profile, with any counts.
    let mut profile = Profile::default();
    let objects = object::read(files[0].as_slice(), "x.o", None, &limits).unwrap();
    let hash = u64::from_le_bytes(objects[0].covfun[12..20].try_into().unwrap());
    let id = FunctionId {
        name: names::hash(b"f"),
        hash,
    };
    let counts = Counts {
        counters: (0..32).collect(),
        bitmap: vec![0xa5; 8],
    };
    profile.add(id, counts).unwrap();
    let check = |bytes: &[u8]| {
        if let Ok(objects) = object::read(bytes, "x", Some("x86_64"), &limits) {
            for object in &objects {
                let _ = of_object(object, &profile);
            }
        }
    };
    for file in &files {
        for at in 0..file.len() {
            check(&file[..at]);
            for change in [1u8, 0x80, 0xff] {
                let mut bad = file.clone();
                bad[at] ^= change;
                check(&bad);
            }
        }
    }
}

/// One table of names, one function with a record.
fn one(record: &[u8]) -> Sections {
    let mut sections = Sections::default();
    let table = sections.files(7, &["/w", "a.c"]);
    sections.function("f", 7, table, record);
    sections
}

fn counted(counters: u64, bitmap: usize) -> Profile {
    let mut profile = Profile::default();
    let id = FunctionId {
        name: names::hash(b"f"),
        hash: 7,
    };
    let counts = Counts {
        counters: (0..counters).collect(),
        bitmap: vec![0xff; bitmap],
    };
    profile.add(id, counts).unwrap();
    profile
}

fn deflated(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn covmap(table: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for number in [0, table.len() as u32, 0, 6] {
        out.extend(number.to_le_bytes());
    }
    out.extend(table);
    out.resize(out.len().next_multiple_of(8), 0);
    out
}

fn packed_table(count: u64, plain: &[u8]) -> Vec<u8> {
    let packed = deflated(plain);
    let mut table = Vec::new();
    uleb(&mut table, count);
    uleb(&mut table, plain.len() as u64);
    uleb(&mut table, packed.len() as u64);
    table.extend(packed);
    covmap(&table)
}

/// A name that is long, and the separator behind it.
const LONG: [u8; 96] = {
    let mut name = [b'a'; 96];
    name[95] = 1;
    name
};

/// What is made up to take memory or time, and what it is refused with, if it
/// is.
fn bombs() -> Vec<(&'static str, Sections, Profile, Option<Kind>)> {
    let good = [1, 1, 0, 1, 1, 1, 1, 2, 9];
    let mut bombs = Vec::new();
    let mut add = |name, sections, profile, kind| bombs.push((name, sections, profile, kind));

    let mut sections = one(&good);
    let packed = deflated(&vec![b'a'; 60 << 20]);
    sections.names.clear();
    uleb(&mut sections.names, 60 << 20);
    uleb(&mut sections.names, packed.len() as u64);
    sections.names.extend(packed);
    add(
        "names that inflate",
        sections,
        counted(1, 0),
        Some(Kind::TooLarge),
    );

    // Within the limit of bytes: too many, and as many as can be.
    for (name, unit, kind) in [
        ("many names", &b"a\x01"[..], Some(Kind::TooLarge)),
        ("long names", &LONG, None),
    ] {
        let mut sections = one(&good);
        let plain = unit.repeat((47 << 20) / unit.len());
        let packed = deflated(&plain);
        uleb(&mut sections.names, plain.len() as u64);
        uleb(&mut sections.names, packed.len() as u64);
        sections.names.extend(packed);
        add(name, sections, counted(1, 0), kind);
    }

    let mut sections = one(&good);
    sections.covmap = packed_table(2, &vec![b'a'; 20 << 20]);
    add(
        "file names that inflate",
        sections,
        counted(1, 0),
        Some(Kind::TooLarge),
    );

    let mut sections = one(&good);
    let table = packed_table(2, &vec![0; 15 << 20]);
    sections.covmap = table.repeat(64);
    add(
        "many tables that inflate",
        sections,
        counted(1, 0),
        Some(Kind::TooLarge),
    );

    let mut sections = one(&good);
    let mut plain = Vec::new();
    uleb(&mut plain, 4000);
    plain.extend([b'd'; 4000]);
    for index in 0..100_000u32 {
        let name = format!("{index}");
        uleb(&mut plain, name.len() as u64);
        plain.extend(name.bytes());
    }
    let mut table = Vec::new();
    uleb(&mut table, 100_001);
    uleb(&mut table, plain.len() as u64);
    uleb(&mut table, 0);
    table.extend(plain);
    sections.covmap = covmap(&table);
    add(
        "a long directory",
        sections,
        counted(1, 0),
        Some(Kind::TooLarge),
    );

    let mut sections = Sections::default();
    let table = sections.files(7, &["/w", "a.c"]);
    for index in 0..20_000 {
        let mut record = vec![1, 1, 0, 1, 1, 1, 1];
        uleb(&mut record, u64::from(u32::MAX) - 2);
        record.push(9);
        sections.function(&format!("f{index}"), 7, table, &record);
    }
    add(
        "lines without end",
        sections,
        counted(1, 0),
        Some(Kind::TooLarge),
    );

    // Each file is expanded by the one before, 1,000 deep, with conditions at
    // the end of it.
    let mut record = Vec::new();
    uleb(&mut record, 1000);
    record.extend([1; 1000]);
    record.push(0);
    for file in 1..1000u64 {
        record.push(1);
        uleb(&mut record, file << 3 | 4);
        record.extend([1, 1, 0, 2]);
    }
    uleb(&mut record, 20_000);
    for _ in 0..20_000 {
        record.extend([0x20, 1, 5, 1, 1, 0, 2]);
    }
    add(
        "conditions that are deep",
        one(&record),
        counted(2, 0),
        None,
    );

    // A function that is in 20,000 files, each of another name.
    let mut sections = Sections::default();
    let names: Vec<String> = (0..20_000).map(|index| format!("/{index}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let table = sections.files(7, &names);
    let mut record = Vec::new();
    uleb(&mut record, 20_000);
    (0..20_000).for_each(|index| uleb(&mut record, index));
    record.push(0);
    for _ in 0..20_000 {
        record.extend([1, 1, 1, 1, 0, 2]);
    }
    sections.function("f", 7, table, &record);
    add("a function in many files", sections, counted(1, 0), None);

    // 20,000 expansions, with each of which the JSON repeats all regions.
    let mut record = Vec::new();
    uleb(&mut record, 20_001);
    record.extend(vec![1; 20_001]);
    record.push(0);
    uleb(&mut record, 20_001);
    record.extend([1, 1, 1, 0, 2]);
    for file in 1..20_001u64 {
        uleb(&mut record, file << 3 | 4);
        record.extend([1, 1, 0, 2]);
    }
    record.extend(vec![0; 20_000]);
    add(
        "many expansions",
        one(&record),
        counted(1, 0),
        Some(Kind::TooLarge),
    );

    // Regions in each other.
    let mut record = vec![1, 1, 0];
    uleb(&mut record, 60_000);
    for _ in 0..30_000u32 {
        record.extend([1, 1, 1]);
        uleb(&mut record, 100_000);
        record.push(9);
    }
    for _ in 0..30_000u32 {
        record.extend([1, 1, 1, 0, 5]);
    }
    add("deep regions", one(&record), counted(1, 0), None);

    // Decisions that lack their conditions, and conditions that look for one.
    let mut record = vec![1, 1, 0];
    uleb(&mut record, 60_000);
    for _ in 0..30_000u32 {
        record.extend([0x28, 9, 2, 0, 1, 0, 9]);
    }
    for _ in 0..30_000u32 {
        record.extend([0x30, 1, 1, 2, 0, 0, 0, 1, 0, 2]);
    }
    add("decisions without end", one(&record), counted(1, 64), None);

    // A decision of 40 conditions with 2^20 ways through it.
    let mut record = vec![1, 1, 0, 41, 0x28];
    uleb(&mut record, 1 << 20);
    record.extend([40, 1, 1, 0, 9]);
    for id in 0..40u64 {
        record.extend([0x30, 1, 1]);
        uleb(&mut record, id + 1);
        // Pairs: the first one leads to the second or over it.
        let (next, over) = (id + 2, id + 3);
        let end = |to: u64| if to > 40 { 0 } else { to };
        uleb(&mut record, end(next));
        uleb(&mut record, end(if id % 2 == 0 { over } else { next }));
        record.extend([0, 2, 0, 3]);
    }
    add("ways without end", one(&record), counted(1, 1 << 20), None);

    let mut record = vec![1, 1];
    let many = 200_000u64;
    uleb(&mut record, many);
    for index in 1..many {
        uleb(&mut record, index * 4 + 3);
        uleb(&mut record, index * 4 + 2);
    }
    record.extend([1, 1, 1, 3, 1, 1, 2, 9]);
    add("deep expressions", one(&record), counted(1, 0), None);

    let mut sections = Sections::default();
    let table = sections.files(7, &["/w", "a.c"]);
    for _ in 0..50_000 {
        sections.function("f", 0, table, &good);
    }
    add("one function many times", sections, counted(1, 0), None);

    let mut sections = one(&good);
    sections.covfun[8..12].copy_from_slice(&u32::MAX.to_le_bytes());
    add(
        "a long record",
        sections,
        counted(1, 0),
        Some(Kind::TooLarge),
    );
    bombs
}

#[test]
fn what_is_made_up_takes_neither_memory_nor_time() {
    for (name, sections, profile, expected) in bombs() {
        let size = sections.covmap.len() + sections.covfun.len() + sections.names.len();
        let (result, peak, time) = measure(|| all(&sections, &profile));
        assert_eq!(
            result.as_ref().err().map(|(kind, _)| *kind),
            expected,
            "{name}: {result:?}"
        );
        let most = (64 << 20) + 8 * size;
        assert!(peak <= most, "{name}: {peak} bytes of {most} for {size}");
        // Without optimisation, on a machine that does other things.
        assert!(time < Duration::from_secs(20), "{name}: {time:?}");
        println!("{name}: {size} bytes, {peak} held, {time:?}");
    }
}

#[test]
fn an_elf_file_may_not_inflate_without_end() {
    let build = support::Build::new(&[("x.c", "int f(int a) { return a; }\n")]);
    build.clang(&["-c", "x.c", "-o", "x.o"]);
    let zeros = vec![0u8; 80 << 20];
    std::fs::write(build.path("zeros"), &zeros).unwrap();
    drop(zeros);
    for args in [
        ["--update-section=__llvm_covmap=zeros", "x.o", "large.o"],
        [
            "--compress-sections=__llvm_covmap=zlib",
            "large.o",
            "bomb.o",
        ],
    ] {
        let mut command = std::process::Command::new("llvm-objcopy-22");
        support::run(command.current_dir(build.dir()).args(args), "llvm-22");
    }
    let bytes = build.bytes("bomb.o");
    assert!(bytes.len() < 1 << 20);
    let (result, peak, _) =
        measure(|| object::read(bytes.as_slice(), "bomb.o", None, &Limits::default()));
    assert_eq!(result.unwrap_err().kind, Kind::TooLarge);
    assert!(peak < 1 << 20, "{peak}");
}
