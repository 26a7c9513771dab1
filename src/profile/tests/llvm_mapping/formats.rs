//! Objects of every format and byte order, and mapping files.

use std::process::Command;

use object::ReadCache;
use podcov_profile::Limits;
use podcov_profile::bytes::Endian;
use podcov_profile::error::Kind;
use podcov_profile::llvm::coverage::{Coverage, Evidence, Options};
use podcov_profile::llvm::mapping::{Mapping, Paths};
use podcov_profile::llvm::object::{self as objects, Object};
use podcov_profile::llvm::profile::Profile;

use crate::support::{Build, coverage, json, run, same};

const SOURCE: &str = "
static inline int g(int a) { return a ? 1 : 2; }
int f(int a) {
  for (int i = 0; i < a; i++)
    if (a & i && a > 3)
      a += g(a);
  return a;
}
#ifdef MAIN
int main(void) { return f(7) > 100; }
#endif
";

/// The source with its counts, which are the same for every target.
fn counted() -> (Build, Profile) {
    let build = Build::new(&[("x.c", SOURCE)]);
    build
        .clang(&["x.c", "-DMAIN", "-o", "native"])
        .run("native", &[]);
    let profile = build.merge(&["native"], "x.profdata");
    (build, profile)
}

fn read(bytes: &[u8], want: Option<&str>) -> Vec<Object<'static>> {
    let objects = objects::read(bytes, "object", want, &Limits::default()).unwrap();
    let owned = |object: Object<'_>| Object {
        covmap: object.covmap.into_owned().into(),
        covfun: object.covfun.into_owned().into(),
        names: object.names.into_owned().into(),
        ..object
    };
    objects.into_iter().map(owned).collect()
}

fn of(objects: &[Object<'_>], profile: &Profile) -> Coverage {
    let limits = Limits::default();
    let mappings: Vec<Mapping<'_>> = objects
        .iter()
        .map(|object| Mapping::read(object, Paths::default(), &limits).unwrap())
        .collect();
    let mappings: Vec<&Mapping<'_>> = mappings.iter().collect();
    let evidence = Evidence {
        mappings: &mappings,
        profile,
    };
    Coverage::new(&[evidence], &Options::default()).unwrap()
}

#[test]
fn every_format_and_byte_order_is_as_llvm_cov_says() {
    let (build, profile) = counted();
    for (target, arch, endian) in [
        ("x86_64-linux-gnu", "x86_64", Endian::Little),
        ("i686-linux-gnu", "i686", Endian::Little),
        ("s390x-linux-gnu", "s390x", Endian::Big),
        ("powerpc-linux-gnu", "powerpc", Endian::Big),
        ("x86_64-apple-macosx13", "x86_64", Endian::Little),
        ("arm64-apple-macosx13", "aarch64", Endian::Little),
        ("x86_64-pc-windows-msvc", "x86_64", Endian::Little),
        ("i686-pc-windows-gnu", "i686", Endian::Little),
    ] {
        build.clang(&["-target", target, "-c", "x.c", "-o", "x.o"]);
        let objects = read(&build.bytes("x.o"), None);
        let [object] = objects.as_slice() else {
            panic!("{target}: {}", objects.len());
        };
        assert_eq!(
            (object.arch.as_str(), object.endian),
            (arch, endian),
            "{target}"
        );
        let theirs = build.llvm_cov(&["x.o"], "x.profdata", &[]);
        same(&json(&of(&objects, &profile), &[]), &theirs, &[target]);
    }
}

#[test]
fn a_fat_file_needs_an_architecture() {
    let (build, profile) = counted();
    for arch in ["x86_64", "arm64"] {
        let (target, out) = (format!("{arch}-apple-macosx13"), format!("{arch}.o"));
        build.clang(&["-target", &target, "-c", "x.c", "-o", &out]);
    }
    let lipo = ["-create", "x86_64.o", "arm64.o", "-output", "fat"];
    let mut command = Command::new("llvm-lipo-22");
    run(command.current_dir(build.dir()).args(lipo), "llvm-22");
    let fat = build.bytes("fat");
    let error = objects::read(fat.as_slice(), "fat", None, &Limits::default()).unwrap_err();
    assert_eq!(
        error.what,
        "fat holds several architectures, say which: x86_64, aarch64"
    );
    let error = objects::read(fat.as_slice(), "fat", Some("s390x"), &Limits::default());
    assert_eq!(
        error.unwrap_err().what,
        "fat has no s390x, only x86_64, aarch64"
    );
    let theirs = build.llvm_cov(&["fat"], "x.profdata", &["-arch", "arm64"]);
    for name in ["arm64", "aarch64"] {
        same(
            &json(&of(&read(&fat, Some(name)), &profile), &[]),
            &theirs,
            &[name],
        );
    }
}

#[test]
fn a_linked_file_of_windows_has_a_zero_before_its_names() {
    let (build, profile) = counted();
    build.clang(&[
        "-target",
        "x86_64-pc-windows-msvc",
        "-c",
        "x.c",
        "-o",
        "x.o",
    ]);
    let [object] = &read(&build.bytes("x.o"), None)[..] else {
        panic!("one object");
    };
    let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
    let mut names = vec![0];
    names.extend(object.names.iter());
    names.push(0);
    let mut yaml = "--- !COFF\nOptionalHeader:\n  AddressOfEntryPoint: 4096\n  ImageBase: 5368709120\n  SectionAlignment: 4096\n  FileAlignment: 512\n  MajorOperatingSystemVersion: 6\n  MinorOperatingSystemVersion: 0\n  MajorImageVersion: 0\n  MinorImageVersion: 0\n  MajorSubsystemVersion: 6\n  MinorSubsystemVersion: 0\n  Subsystem: IMAGE_SUBSYSTEM_WINDOWS_CUI\n  DLLCharacteristics: []\n  SizeOfStackReserve: 0\n  SizeOfStackCommit: 0\n  SizeOfHeapReserve: 0\n  SizeOfHeapCommit: 0\nheader:\n  Machine: IMAGE_FILE_MACHINE_AMD64\n  Characteristics: [ IMAGE_FILE_EXECUTABLE_IMAGE ]\nsections:\n"
        .to_owned();
    let sections = [
        (".lcovmap", &object.covmap[..]),
        (".lcovfun", &object.covfun[..]),
        (".lprfn", &names[..]),
    ];
    for (index, (name, bytes)) in sections.into_iter().enumerate() {
        yaml += &format!(
            "  - Name: {name}\n    Characteristics: [ IMAGE_SCN_CNT_INITIALIZED_DATA, IMAGE_SCN_MEM_READ ]\n    VirtualAddress: {}\n    VirtualSize: {}\n    SectionData: {}\n",
            (index + 1) * 65536,
            bytes.len(),
            hex(bytes)
        );
    }
    yaml += "symbols: []\n...\n";
    std::fs::write(build.path("x.yaml"), yaml).unwrap();
    let mut command = Command::new("yaml2obj-22");
    let args = ["x.yaml", "-o", "x.exe"];
    run(command.current_dir(build.dir()).args(args), "llvm-22");
    let theirs = build.llvm_cov(&["x.exe"], "x.profdata", &[]);
    let ours = coverage(&[build.bytes("x.exe")], &profile);
    same(&json(&ours, &[]), &theirs, &["x.exe"]);
}

#[test]
fn compressed_sections_are_read() {
    let (build, profile) = counted();
    let mut command = Command::new("llvm-objcopy-22");
    command.current_dir(build.dir()).args(["native", "packed"]);
    // Sections that are loaded cannot be; those of the mapping are not.
    let plain = build.bytes("native");
    let sections = String::from_utf8(run(
        Command::new("llvm-readelf-22")
            .arg("-SW")
            .arg(build.path("native")),
        "llvm-22",
    ))
    .unwrap();
    assert!(sections.contains("__llvm_covmap"));
    command.args(["--compress-sections", "__llvm_cov*=zlib"]);
    run(&mut command, "llvm-22");
    let packed = build.bytes("packed");
    assert!(packed != plain);
    let (one, other) = (read(&plain, None), read(&packed, None));
    assert_eq!(one, other);
    same(
        &json(&of(&other, &profile), &[]),
        &build.llvm_cov(&["native"], "x.profdata", &[]),
        &["compressed"],
    );
}

#[test]
fn only_what_is_needed_is_read_from_a_file() {
    let (build, _) = counted();
    let file = std::fs::File::open(build.path("native")).unwrap();
    let cache = ReadCache::new(file);
    let objects = objects::read(&cache, "native", None, &Limits::default()).unwrap();
    assert_eq!(objects, read(&build.bytes("native"), None));
    assert!(objects[0].identity.is_some() || objects[0].arch == "x86_64");
}

#[test]
fn a_mapping_file_stands_in_for_the_program() {
    let (build, profile) = counted();
    build.clang(&["x.c", "-DMAIN", "-o", "native", "-Wl,--build-id=sha1"]);
    let objects = read(&build.bytes("native"), None);
    assert!(objects[0].identity.is_some());
    let mut file = Vec::new();
    objects[0].to_mapping_file(&mut file).unwrap();
    let back = read(&file, None);
    assert_eq!(back, objects);
    assert_eq!(
        json(&of(&back, &profile), &[]),
        json(&of(&objects, &profile), &[])
    );
    let mut again = Vec::new();
    back[0].to_mapping_file(&mut again).unwrap();
    assert_eq!(again, file);
}

#[test]
fn what_holds_no_mapping_is_named() {
    let build = Build::new(&[("x.c", "int main(void) { return 0; }\n")]);
    let mut command = Command::new("clang-19");
    run(
        command
            .current_dir(build.dir())
            .args(["x.c", "-o", "plain"]),
        "clang-19",
    );
    build.clang(&["x.c", "-o", "full"]);
    let mut command = Command::new("llvm-objcopy-22");
    command.args(["--remove-section=__llvm_cov*", "full", "stripped"]);
    run(command.current_dir(build.dir()), "llvm-22");
    for name in ["plain", "stripped"] {
        let bytes = build.bytes(name);
        let error = objects::read(bytes.as_slice(), name, None, &Limits::default()).unwrap_err();
        assert_eq!(error.kind, Kind::Unsupported);
        let expected = format!(
            "{name} holds no coverage mapping (sections __llvm_covmap and __llvm_covfun): \
             expected a program that was built with coverage and not stripped of it"
        );
        assert_eq!(error.what, expected);
    }
    let error = objects::read(&b"some text"[..], "notes.txt", None, &Limits::default());
    assert_eq!(
        error.unwrap_err().what,
        "notes.txt: no program, library or archive"
    );
    let error = objects::read(&b""[..], "empty", None, &Limits::default()).unwrap_err();
    assert_eq!(
        (error.kind, error.what.as_str()),
        (Kind::Empty, "empty is empty, not a program")
    );
}
