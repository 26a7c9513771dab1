//! Several crates, programs, libraries and archives.

use podcov_profile::Limits;
use podcov_profile::llvm::coverage::{Coverage, Evidence, Options};
use podcov_profile::llvm::mapping::{Mapping, Paths};
use podcov_profile::llvm::object;

use crate::support::{Build, apart, coverage, json, lcov, run, same};

const LIB: &str = r#"
pub struct Stack<T>(Vec<T>);

impl<T: Clone + PartialOrd> Stack<T> {
    pub fn new() -> Self { Stack(Vec::new()) }
    pub fn push(&mut self, value: T) -> &mut Self { self.0.push(value); self }
    pub fn most(&self) -> Option<T> {
        let mut best = self.0.first()?.clone();
        for value in &self.0 {
            if *value > best { best = value.clone(); }
        }
        Some(best)
    }
}

impl<T> Default for Stack<T> {
    fn default() -> Self { Stack(Vec::new()) }
}

pub fn plain(n: u32) -> u32 {
    if n > 3 { n * 2 } else { n + unused_by_some(n) }
}

#[inline]
pub fn unused_by_some(n: u32) -> u32 { n.pow(2) }

#[macro_export]
macro_rules! twice { ($e:expr) => { { let x = $e; x + x } } }
"#;

const ONE: &str = r#"
use lib::{Stack, plain, twice};
fn helper() -> u32 { plain(9) }
fn main() {
    let mut stack = Stack::new();
    stack.push(1u8).push(7).push(3);
    println!("{:?} {}", stack.most(), twice!(helper()));
}
"#;

const TWO: &str = r#"
use lib::{Stack, plain};
fn helper() -> u32 { (0..3).map(plain).sum() }
fn main() {
    let mut stack: Stack<String> = Stack::default();
    println!("{:?} {}", stack.push("a".into()).most(), helper());
}
"#;

fn two_programs() -> Build {
    let build = Build::new(&[("lib.rs", LIB), ("one.rs", ONE), ("two.rs", TWO)]);
    build.rustc(&["lib.rs", "--crate-type=rlib", "--crate-name=lib"]);
    for name in ["one", "two"] {
        let source = format!("{name}.rs");
        build.rustc(&[&source, "-o", name, "--extern=lib=liblib.rlib"]);
        build.run(name, &[]).run(name, &[]);
    }
    build
}

#[test]
fn programs_that_share_a_crate_are_as_llvm_cov_says() {
    let build = two_programs();
    build.merge(&["one", "two"], "all.profdata");
    build.check(&["one", "two"], "all.profdata");
    build.check(&["two", "one"], "all.profdata");
    build.check(&["one"], "all.profdata");
}

#[test]
fn programs_with_profiles_of_their_own_add_up_to_the_same() {
    let build = two_programs();
    let one = build.merge(&["one"], "one.profdata");
    let two = build.merge(&["two"], "two.profdata");
    build.merge(&["one", "two"], "all.profdata");
    let coverage = apart(&build, &[("one", &one), ("two", &two)]);
    assert_eq!(coverage.findings(), []);
    let theirs = build.llvm_cov(&["one", "two"], "all.profdata", &[]);
    same(&json(&coverage, &[]), &theirs, &["apart"]);
}

#[test]
fn an_rlib_has_the_mapping_of_its_members() {
    let build = two_programs();
    build.merge(&["one", "two"], "all.profdata");
    let profile = build.profile("all.profdata");
    let coverage = coverage(&[build.bytes("liblib.rlib")], &profile);
    // llvm-cov does not read rlibs, because of the metadata in them.
    let names: Vec<&str> = coverage.kept_files().map(|(_, name)| name).collect();
    assert!(
        names.iter().all(|name| name.ends_with("/lib.rs")),
        "{names:?}"
    );
    let plain = coverage
        .functions()
        .find(|function| String::from_utf8_lossy(function.name()).contains("plain"))
        .unwrap();
    assert_eq!(plain.count(), 2 + 2 * 3);
}

const SHARED: &str = r#"
#[unsafe(no_mangle)]
pub extern "C" fn twice(n: u32) -> u32 { if n > 100 { 0 } else { n * 2 } }
#[unsafe(no_mangle)]
pub extern "C" fn never(n: u32) -> u32 { n }
"#;

const CALLER: &str = r#"
unsafe extern "C" {
    fn twice(n: u32) -> u32;
    fn weigh(n: i32) -> i32;
}
fn main() {
    println!("{} {}", unsafe { twice(4) }, unsafe { weigh(3) });
}
"#;

const WEIGH: &str = r#"
#define HEAVY(n) ((n) > 2 && (n) < 9)
int weigh(int n) {
  if (HEAVY(n))
    return n;
  return 0;
}
"#;

#[test]
fn a_library_and_c_through_ffi_are_as_llvm_cov_says() {
    let build = Build::new(&[
        ("shared.rs", SHARED),
        ("main.rs", CALLER),
        ("weigh.c", WEIGH),
        ("more.c", "int more(int n) { return n ? 1 : 2; }\n"),
    ]);
    build.rustc(&["shared.rs", "--crate-type=cdylib"]);
    for source in ["weigh", "more"] {
        let (file, object) = (format!("{source}.c"), format!("{source}.o"));
        build.clang(&["-c", &file, "-o", &object, "-fPIC"]);
    }
    run(
        std::process::Command::new("llvm-ar-22")
            .current_dir(build.dir())
            .args(["rc", "libweigh.a", "weigh.o", "more.o"]),
        "llvm-22",
    );
    build.rustc(&["main.rs", "-L.", "-lshared", "-lstatic=weigh"]);
    build.run("main", &[]);
    build.merge(&["main"], "all.profdata");
    build.check(&["main"], "all.profdata");
    build.check(&["main", "libshared.so"], "all.profdata");
    build.check(&["libshared.so", "main"], "all.profdata");
    build.check(&["libweigh.a"], "all.profdata");
}

#[test]
fn files_that_are_not_asked_for_are_left_out() {
    let build = two_programs();
    let profile = build.merge(&["one"], "one.profdata");
    let limits = Limits::default();
    let bytes = build.bytes("one");
    let objects = object::read(bytes.as_slice(), "one", None, &limits).unwrap();
    let mapping = Mapping::read(&objects[0], Paths::default(), &limits).unwrap();
    let evidence = Evidence {
        mappings: &[&mapping],
        profile: &profile,
    };
    let keep = |name: &str| name.ends_with("/lib.rs");
    let options = Options { keep: Some(&keep) };
    let coverage = Coverage::new(&[evidence], &options).unwrap();
    let theirs = build.llvm_cov(
        &["one"],
        "one.profdata",
        &["-format=lcov", "-ignore-filename-regex=/one.rs$"],
    );
    same(&lcov(&coverage, &[]), &theirs, &["kept"]);
    assert!(
        coverage
            .functions()
            .all(|function| function.files().len() == 1)
    );
}

#[test]
fn directories_can_be_replaced_and_names_mapped() {
    let build = Build::new(&[("main.c", "int main(void) { return 0; }\n")]);
    build.clang(&["main.c", "-o", "m", "-fcoverage-compilation-dir=/nowhere"]);
    build.run("m", &[]);
    let profile = build.merge(&["m"], "m.profdata");
    let limits = Limits::default();
    let bytes = build.bytes("m");
    let objects = object::read(bytes.as_slice(), "m", None, &limits).unwrap();
    let names = |paths: Paths<'_>| -> Vec<String> {
        let mapping = Mapping::read(&objects[0], paths, &limits).unwrap();
        let evidence = Evidence {
            mappings: &[&mapping],
            profile: &profile,
        };
        Coverage::new(&[evidence], &Options::default())
            .unwrap()
            .files()
            .to_vec()
    };
    assert_eq!(names(Paths::default()), ["/nowhere/main.c"]);
    let given = Paths {
        compilation_dir: Some("/here/"),
        remap: None,
    };
    assert_eq!(names(given), ["/here/main.c"]);
    let theirs = build.llvm_cov(
        &["m"],
        "m.profdata",
        &["-format=lcov", "-compilation-dir=/here/"],
    );
    assert!(theirs.starts_with(b"SF:/here/main.c\n"));
    let remap = |name: &str| name.replace("/nowhere/", "src/");
    let given = Paths {
        compilation_dir: None,
        remap: Some(&remap),
    };
    assert_eq!(names(given), ["src/main.c"]);
}
