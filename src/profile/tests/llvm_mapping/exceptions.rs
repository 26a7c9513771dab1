//! Where llvm-cov-22 is wrong, and this is not.

use podcov_profile::llvm::coverage::Coverage;
use podcov_profile::llvm::finding::Finding;

use crate::support::{Build, apart, coverage};

/// Lines of a file with their counts.
fn lines(coverage: &Coverage, file: &str) -> Vec<(u32, u64)> {
    let (index, _) = coverage
        .kept_files()
        .find(|(_, name)| name.ends_with(file))
        .unwrap();
    let lines = coverage.file(index).lines();
    lines.iter().map(|line| (line.number, line.count)).collect()
}

/// The same of an LCOV file.
fn da(lcov: &[u8], file: &str) -> Vec<(u32, u64)> {
    let text = String::from_utf8_lossy(lcov);
    let record = text
        .split("end_of_record")
        .find(|record| {
            record
                .lines()
                .any(|line| line.starts_with("SF:") && line.ends_with(file))
        })
        .unwrap();
    record
        .lines()
        .filter_map(|line| line.strip_prefix("DA:")?.split_once(','))
        .map(|(number, count)| (number.parse().unwrap(), count.parse().unwrap()))
        .collect()
}

#[test]
fn equal_names_of_two_programs_are_not_mixed() {
    // https://github.com/llvm/llvm-project/issues/148279
    let build = Build::new(&[
        ("one.c", "int main(void) { return 0; }\n"),
        ("two.c", "\nint main(void) { return 0; }\n"),
    ]);
    for name in ["one", "two"] {
        build
            .clang(&[&format!("{name}.c"), "-o", name])
            .run(name, &[]);
    }
    let one = build.merge(&["one"], "one.profdata");
    let two = build.merge(&["two"], "two.profdata");
    let coverage = apart(&build, &[("one", &one), ("two", &two)]);
    assert_eq!(lines(&coverage, "one.c"), [(1, 1)]);
    assert_eq!(lines(&coverage, "two.c"), [(2, 1)]);

    build.merge(&["one", "two"], "all.profdata");
    let theirs = build.llvm_cov(&["one", "two"], "all.profdata", &["-format=lcov"]);
    assert_eq!(da(&theirs, "one.c"), [(1, 2)], "llvm-cov has learned it");
}

#[test]
fn a_function_that_differs_between_programs_is_kept_twice() {
    // https://github.com/llvm/llvm-project/issues/148673
    let source = "int main(int c, char **v) {\n#ifdef MORE\n  if (c > 0)\n    return 0;\n#endif\n  return 0;\n}\n";
    let build = Build::new(&[("main.c", source)]);
    build.clang(&["main.c", "-o", "less"]).run("less", &[]);
    build
        .clang(&["main.c", "-o", "more", "-DMORE"])
        .run("more", &[]);
    let less = build.merge(&["less"], "less.profdata");
    let more = build.merge(&["more"], "more.profdata");
    let coverage = apart(&build, &[("less", &less), ("more", &more)]);
    assert_eq!(coverage.functions().count(), 2);
    let (file, _) = coverage.kept_files().next().unwrap();
    let groups = coverage.groups(file);
    assert_eq!(
        (groups.len(), groups[0].functions.len(), groups[0].count()),
        (1, 2, 2)
    );
    assert!(lines(&coverage, "main.c").contains(&(4, 1)));

    build.merge(&["less", "more"], "all.profdata");
    let theirs = build.llvm_cov(&["less", "more"], "all.profdata", &["-format=lcov"]);
    assert!(
        !da(&theirs, "main.c").contains(&(4, 1)),
        "llvm-cov has learned it"
    );
}

#[test]
fn the_dummy_of_a_function_gives_way_to_the_real_one() {
    // https://github.com/llvm/llvm-project/issues/160248
    let build = Build::new(&[
        ("foo.h", "inline int foo(int a) {\n  return a ? 1 : 2;\n}\n"),
        ("bar.c", "#include \"foo.h\"\nint unused;\n"),
        (
            "main.c",
            "#include \"foo.h\"\nint main(int c, char **v) { return foo(c) - 1; }\n",
        ),
    ]);
    build.clang(&["-O2", "-shared", "-fPIC", "bar.c", "-o", "libbar.so"]);
    build.clang(&["-O2", "main.c", "./libbar.so", "-o", "main"]);
    build.run("main", &[]);
    let profile = build.merge(&["main"], "main.profdata");
    for order in [["libbar.so", "main"], ["main", "libbar.so"]] {
        let objects = order.map(|name| build.bytes(name));
        let found = coverage(&objects, &profile);
        assert_eq!(found.findings(), []);
        assert_eq!(lines(&found, "foo.h"), [(1, 1), (2, 1), (3, 1)]);
    }
}

#[test]
fn a_profile_of_another_build_is_told() {
    let build = Build::new(&[
        ("old.c", "int main(void) {\n  return 0;\n}\n"),
        (
            "main.c",
            "int main(int c, char **v) {\n  if (c > 7) return 1;\n  return 0;\n}\n",
        ),
    ]);
    build.clang(&["old.c", "-o", "old"]).run("old", &[]);
    build.clang(&["main.c", "-o", "main"]);
    let profile = build.merge(&["old"], "old.profdata");
    let found = coverage(&[build.bytes("main")], &profile);
    let [finding] = found.findings() else {
        panic!("{:?}", found.findings());
    };
    let Finding::HashMismatch {
        function, counted, ..
    } = finding
    else {
        panic!("{finding:?}");
    };
    assert_eq!(function, "main");
    let shapes: Vec<_> = counted.iter().map(|(_, shape)| *shape).collect();
    assert_eq!(shapes, [(1, 0)]);
    assert!(finding.to_string().starts_with("main is mapped with hash "));
    assert!(finding.to_string().ends_with(" (1 counters): left out"));
    assert_eq!(found.functions().count(), 0);
}
