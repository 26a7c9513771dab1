//! Programs in C and C++: what compilers of Rust do not write.

use crate::support::Build;

const MAIN: &str = r#"
#include <stdio.h>
#include "table.h"
#define MAX(a,b) ((a) > (b) ? (a) : (b))
#define BOTH(a,b) (MAX(a,b) && (a))
#define ALWAYS(a) ((a) || 1)
static int f(int a, int b, int c) {
  if ((a && b) || c) {
    return BOTH(a, b);
  }
#if 0
  skipped
#endif
  switch (a) {
  case 1: return 2;
  case 2:
    return 3;
  default:
    break;
  }

  for (int i = 0; i < b; i++) { if (i == 3) continue; c++; }
  return c;
}
static int unused(int a) { return a + 1; }
static int folded(int a) {
  if (0 && a) return 1;
  if (ALWAYS(a) && (a > 3 || BOTH(a, a + 1) || !a)) return 2;
  do { a--; } while (MAX(a, 0) > 0);
  return table(a);
}
int main(int argc, char **argv) {
  int s = 0;
  for (int i = 0; i < 8; i++) s += f(i & 1, i & 2, i & 4);
  s += folded(argc) + folded(5);
  while (s > 1000)
    s /= 2;
  printf("%d\n", s > 10 ? MAX(s, 20) : BOTH(s, 2));
  return 0;
}
"#;

const TABLE: &str = r#"
static inline int table(int a) {
  int values[] = {
#include "values.h"
  };
  return a >= 0 && a < 3 ? values[a] : -1;
}
static inline int other(int a) { return a ? 1 : 2; }
"#;

fn build() -> Build {
    Build::new(&[
        ("main.c", MAIN),
        ("table.h", TABLE),
        ("values.h", "1, 2 > 1 ? 5 : 6, 3,\n"),
        (
            "other.c",
            "#include \"table.h\"\nint g(int a) { return other(a); }\n",
        ),
    ])
}

#[test]
fn macros_includes_gaps_and_decisions_are_as_llvm_cov_says() {
    let build = build();
    for (program, flags) in [
        ("plain", &[][..]),
        ("mcdc", &["-fcoverage-mcdc"]),
        ("optimised", &["-O2", "-fcoverage-mcdc", "other.c"]),
        ("relative", &["-fcoverage-compilation-dir=.", "-g"]),
    ] {
        let mut args = vec!["main.c", "-o", program];
        args.extend(flags);
        build
            .clang(&args)
            .run(program, &[])
            .run(program, &["1", "2"]);
        build.merge(&[program], "merged.profdata");
        build.check(&[program], "merged.profdata");
    }
}

/// Decisions of up to six conditions, some of them twice or folded, from a
/// small generator that gives the same ones each time.
fn decisions() -> String {
    let mut state = 1u64;
    let mut random = move |below: u64| {
        state = state
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (state >> 33) % below
    };
    fn expression(random: &mut dyn FnMut(u64) -> u64, leaves: u64) -> String {
        if leaves == 1 {
            return match random(12) {
                0 => "1".to_owned(),
                1 => "!(x >> 3 & 1)".to_owned(),
                2 => "EITHER(x & 1, x >> 4 & 1)".to_owned(),
                bit => format!("(x >> {} & 1)", bit % 6),
            };
        }
        let left = 1 + random(leaves - 1);
        let operator = ["&&", "||"][random(2) as usize];
        let (a, b) = (expression(random, left), expression(random, leaves - left));
        format!("({a} {operator} {b})")
    }
    let mut text = "#define EITHER(a, b) ((a) || (b))\n#include <stdlib.h>\n".to_owned();
    for index in 0..120 {
        let leaves = 1 + random(6);
        let decision = expression(&mut random, leaves);
        text += &format!(
            "static int f{index}(int x) {{ if {decision} return 1; return {decision} ? 2 : 0; }}\n"
        )
        .replace("if 1 ", "if (1) ")
        .replace("if !", "if (1) if (!")
        .replace(
            "if (1) if (!(x >> 3 & 1) return",
            "if (!(x >> 3 & 1)) return",
        )
        .replace(
            "if EITHER(x & 1, x >> 4 & 1)",
            "if (EITHER(x & 1, x >> 4 & 1))",
        );
    }
    text += "int main(int argc, char **argv) {\n  for (int i = 1; i < argc; i++) {\n    int x = atoi(argv[i]), s = 0;\n";
    for index in 0..120 {
        text += &format!("    s += f{index}((x * {}) & 63);\n", index * 2 + 1);
    }
    text + "    if (s < 0) return 1;\n  }\n  return 0;\n}\n"
}

#[test]
fn decisions_of_any_shape_are_as_llvm_cov_says() {
    let build = Build::new(&[("main.c", &decisions())]);
    build.clang(&["main.c", "-o", "m", "-fcoverage-mcdc"]);
    let values: Vec<String> = (0..9).map(|value| (value * 7).to_string()).collect();
    let values: Vec<&str> = values.iter().map(String::as_str).collect();
    build.run("m", &values);
    build.merge(&["m"], "merged.profdata");
    let coverage = build.check(&["m"], "merged.profdata");
    assert!(coverage.findings().is_empty(), "{:?}", coverage.findings());
    let decisions: usize = coverage.functions().map(|f| f.decisions().len()).sum();
    assert!(decisions > 150, "{decisions}");
}

const TEMPLATES: &str = r#"
#include <cstdio>
#include <string>
#include <vector>
#define CHECK(a) do { if (a) hits++; else misses++; } while (0)
static int hits, misses;
template <typename T> struct Box {
  T value;
  explicit Box(T v) : value(v) {}
  bool big() const { return value > T(10) || value < T(-10); }
  template <typename U> U as() const { return big() ? U(value) : U(0); }
};
template <typename T> T most(const std::vector<T> &all) {
  T best = all.front();
  for (const auto &one : all)
    if (one > best)
      best = one;
  return best;
}
struct Base { virtual ~Base() = default; virtual int run() { return 1; } };
struct Derived final : Base { int run() override { return 2; } };
int main() {
  Box<int> a(5), b(50);
  Box<double> c(2.5);
  CHECK(a.big()); CHECK(b.big()); CHECK(c.big());
  auto lambda = [&](int x) { CHECK(x > 1); return x ? most<int>({x, 2, 3}) : 0; };
  Derived derived;
  Base *base = &derived;
  try {
    if (b.as<long>() > 1) throw std::string("x");
  } catch (const std::string &s) {
    printf("%s\n", s.c_str());
  }
  printf("%d %d %d %f\n", lambda(4) + lambda(0), base->run(), hits, most<double>({1.0, 2.0}));
  return c.as<int>();
}
"#;

#[test]
fn templates_and_lambdas_are_as_llvm_cov_says() {
    let build = Build::new(&[("main.cc", TEMPLATES)]);
    for (program, flags) in [("plain", &[][..]), ("mcdc", &["-fcoverage-mcdc", "-O1"])] {
        let mut args = vec!["main.cc", "-o", program, "-std=c++17"];
        args.extend(flags);
        build.compile("clang++-19", &args).run(program, &[]);
        build.merge(&[program], "merged.profdata");
        build.check(&[program], "merged.profdata");
    }
}
