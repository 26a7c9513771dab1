//! `--backend native` and `--backend tools` over the programs of the
//! differential set: what the product reports of one run must not depend on
//! who merged it. Evidence and bundles are made as a user makes them, with
//! `podcov exec`; then the same run is merged and reported with each backend.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::corpus::{self, nice, output};

/// Both, as `podcov merge --backend` calls them; the reference is the second.
const BACKENDS: [&str; 2] = ["native", "tools"];

/// What of coverage.json only the engine knows: LLVM's and Go's tools tell
/// neither the parts of functions nor who reached what.
const NATIVE_ONLY: [&str; 4] = ["branches", "regions", "instances", "reach"];

/// One start of an instrumented program.
pub struct Start {
    /// The program.
    pub program: PathBuf,
    /// Where it is started.
    pub dir: PathBuf,
    /// Its arguments, as a shell reads them.
    pub args: &'static str,
}

/// Programs of one project.
pub struct Project<'a> {
    /// `rust` or `go`.
    pub language: &'a str,
    /// Where its sources are.
    pub root: &'a Path,
    /// What is started.
    pub starts: &'a [Start],
}

/// What was compared.
#[derive(Default)]
pub struct Compared {
    /// Source files of reports.
    pub files: usize,
    /// Lines with a count.
    pub lines: usize,
    /// The first difference of each part of each file.
    pub different: Vec<Difference>,
}

/// What the backends report differently.
pub struct Difference {
    /// The file, and its part where it has some: `summary.json: findings`.
    pub part: String,
    /// Source, line, and what they say.
    pub text: String,
}

/// Measures the programs below `work`, which is made anew, and compares what
/// the backends report.
pub fn compare(podcov: &Path, project: &Project<'_>, work: &Path) -> Result<Compared, String> {
    let _ = fs::remove_dir_all(work);
    let run = work.join("profiles/run");
    let mut config = "[composition]\nname = \"differential\"\n".to_owned();
    let bin = work.join("bin");
    fs::create_dir_all(&bin).map_err(|error| error.to_string())?;
    for start in project.starts {
        // The component is called as its program is.
        let name = name_of(&start.program);
        let program = bin.join(&name);
        fs::hard_link(&start.program, &program)
            .map_err(|error| format!("cannot link {}: {error}", program.display()))?;
        let mut exec = nice(podcov);
        exec.current_dir(&start.dir).args(["exec", "--quiet"]);
        exec.arg("--evidence").arg(&run);
        exec.arg("--source-root").arg(project.root);
        exec.args(["--component", &name, "--object"]).arg(&program);
        // An example may be one of a panic; its profile counts all the same.
        let script = format!("\"$0\" {}; exit 0", start.args);
        exec.args(["--", "sh", "-c", &script]).arg(&program);
        output(&mut exec)?;
        config += &component(&name, project);
    }
    let file = work.join("podcov.toml");
    corpus::write(&file, &config)?;
    let mut told = Vec::new();
    for backend in BACKENDS {
        let step = |args: &[&str]| {
            let mut command = nice(podcov);
            command.args(args).args(["--quiet", "--run", "run"]);
            command.arg("--config").arg(&file);
            output(&mut command)
        };
        step(&["merge", "--backend", backend])?;
        step(&["report"])?;
        told.push(Told::read(&run)?);
        // So that both can be looked at.
        let kept = work.join(backend);
        for name in ["coverage", "report"] {
            copy(&run.join(name), &kept.join(name))?;
        }
    }
    let [ours, theirs] = &told[..] else {
        return Err("there are two backends".to_owned());
    };
    let lines = |told: &Told| {
        told.lcov
            .lines()
            .filter(|line| line.starts_with("DA:"))
            .count()
    };
    let files = |told: &Told| {
        told.lcov
            .lines()
            .filter(|line| line.starts_with("SF:"))
            .count()
    };
    Ok(Compared {
        files: files(theirs),
        lines: lines(theirs),
        different: ours.differences(theirs),
    })
}

fn component(name: &str, project: &Project<'_>) -> String {
    let manifest = match project.language {
        "rust" => project.root.join("Cargo.toml"),
        _ => project.root.to_path_buf(),
    };
    format!(
        "\n[[component]]\nname = {name:?}\nlanguage = {:?}\nmanifest = {manifest:?}\n",
        project.language
    )
}

/// As podcov.toml allows it.
fn name_of(program: &Path) -> String {
    let name = program.file_name().unwrap_or_default().to_string_lossy();
    let is_good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let name = name.to_lowercase();
    name.chars()
        .map(|c| if is_good(c) { c } else { '-' })
        .collect()
}

fn copy(from: &Path, to: &Path) -> Result<(), String> {
    if let Some(parent) = to.parent() {
        fs::create_dir_all(parent).map_err(|error| error.to_string())?;
    }
    let mut command = Command::new("cp");
    command.arg("-r").arg(from).arg(to);
    corpus::finish(command)
}

/// What the product says of a run.
struct Told {
    coverage: Value,
    summary: Value,
    lcov: String,
    /// Go's text profile, where there is Go.
    text: String,
}

impl Told {
    fn read(run: &Path) -> Result<Told, String> {
        let text = |name: &str| {
            let path = run.join(name);
            fs::read_to_string(&path)
                .map_err(|error| format!("cannot read {}: {error}", path.display()))
        };
        let json = |name: &str| -> Result<Value, String> {
            serde_json::from_str(&text(name)?).map_err(|error| format!("{name}: {error}"))
        };
        Ok(Told {
            coverage: json("coverage/coverage.json")?,
            summary: json("report/summary.json")?,
            lcov: text("report/lcov.info")?,
            text: text("report/coverage.out").unwrap_or_default(),
        })
    }

    fn differences(&self, tools: &Told) -> Vec<Difference> {
        let mut found = Vec::new();
        let files = [
            ("coverage.json", &self.coverage, &tools.coverage),
            ("summary.json", &self.summary, &tools.summary),
        ];
        for (file, ours, theirs) in files {
            let keys = |value: &Value| {
                let object = value.as_object().cloned().unwrap_or_default();
                object.into_iter().map(|(key, _)| key)
            };
            let parts: BTreeSet<String> = keys(ours).chain(keys(theirs)).collect();
            for part in parts {
                let nothing = Value::Null;
                let of = |value: &'_ Value| value.get(&part).unwrap_or(&nothing).clone();
                if let Some((place, values)) = first_difference(&of(ours), &of(theirs)) {
                    found.push(Difference {
                        part: format!("{file}: {part}"),
                        text: format!("{place}: {values}"),
                    });
                }
            }
        }
        let texts = [
            ("lcov.info", lcov_difference(&self.lcov, &tools.lcov)),
            ("coverage.out", line_difference(&self.text, &tools.text)),
        ];
        let texts = texts.into_iter().filter_map(|(file, text)| {
            Some(Difference {
                part: file.to_owned(),
                text: text?,
            })
        });
        found.extend(texts);
        found
    }
}

/// The first place where two values differ but for what only one can know, and
/// what they are there. Objects of a list are called by their path or name.
fn first_difference(ours: &Value, theirs: &Value) -> Option<(String, String)> {
    let inside = |name: &str, ours: Option<&Value>, theirs: Option<&Value>| {
        let nothing = &Value::Null;
        let (ours, theirs) = (ours.unwrap_or(nothing), theirs.unwrap_or(nothing));
        let (place, values) = first_difference(ours, theirs)?;
        Some((format!("{name} {place}"), values))
    };
    match (ours, theirs) {
        (Value::Object(one), Value::Object(other)) => {
            let added = other.keys().filter(|key| !one.contains_key(*key));
            let mut keys = one.keys().chain(added);
            keys.find_map(|key| match NATIVE_ONLY.contains(&key.as_str()) {
                true => None,
                false => inside(key, one.get(key), other.get(key)),
            })
        }
        (Value::Array(one), Value::Array(other)) => {
            (0..one.len().max(other.len())).find_map(|index| {
                let (ours, theirs) = (one.get(index), other.get(index));
                let is_called = |value: &Value| {
                    let name = value.get("path").or_else(|| value.get("name"))?;
                    name.as_str().map(str::to_owned)
                };
                let name = ours.or(theirs).and_then(is_called);
                let name = name.unwrap_or_else(|| format!("[{index}]"));
                inside(&name, ours, theirs)
            })
        }
        _ if ours == theirs => None,
        _ => Some((
            String::new(),
            format!("native {}, tools {}", short(ours), short(theirs)),
        )),
    }
}

fn short(value: &Value) -> String {
    value.to_string().chars().take(200).collect()
}

/// The first record that differs, with its source. The tools know no branches.
fn lcov_difference(ours: &str, theirs: &str) -> Option<String> {
    fn records(text: &str) -> Vec<(&str, &str)> {
        let mut file = "";
        let mut records = Vec::new();
        for line in text.lines().filter(|line| !line.starts_with("BR")) {
            file = line.strip_prefix("SF:").unwrap_or(file);
            records.push((file, line));
        }
        records
    }
    let (ours, theirs) = (records(ours), records(theirs));
    (0..ours.len().max(theirs.len())).find_map(|index| {
        let (ours, theirs) = (ours.get(index), theirs.get(index));
        let (file, _) = ours.or(theirs)?;
        (ours != theirs).then(|| {
            let line = |record: Option<&(&str, &str)>| record.map_or("nothing", |r| r.1).to_owned();
            format!("{file}: native {}, tools {}", line(ours), line(theirs))
        })
    })
}

fn line_difference(ours: &str, theirs: &str) -> Option<String> {
    let (mut ours, mut theirs) = (ours.lines(), theirs.lines());
    loop {
        match (ours.next(), theirs.next()) {
            (None, None) => return None,
            (one, other) if one == other => {}
            (one, other) => {
                let text = |line: Option<&str>| line.unwrap_or("nothing").to_owned();
                return Some(format!("native {}, tools {}", text(one), text(other)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str) -> Value {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn a_line_that_differs_is_named_with_its_file() {
        let ours = value(r#"{"files": [{"path": "a.rs", "lines": [[1, 2], [3, 4]]}]}"#);
        let theirs = value(r#"{"files": [{"path": "a.rs", "lines": [[1, 2], [3, 5]]}]}"#);
        let (place, values) = first_difference(&ours, &theirs).unwrap();
        assert_eq!(
            place.split_whitespace().collect::<Vec<_>>(),
            ["files", "a.rs", "lines", "[1]", "[1]"]
        );
        assert_eq!(values, "native 4, tools 5");
    }

    #[test]
    fn a_file_that_only_one_has_is_a_difference() {
        let ours = value(r#"{"files": []}"#);
        let theirs = value(r#"{"files": [{"path": "a.rs"}]}"#);
        assert!(first_difference(&ours, &theirs).unwrap().0.contains("a.rs"));
        assert!(first_difference(&theirs, &ours).unwrap().0.contains("a.rs"));
    }

    #[test]
    fn what_only_the_engine_knows_is_no_difference() {
        let ours = value(r#"{"regions": [1], "reach": {"a": 1}, "lines": [1]}"#);
        let theirs = value(r#"{"lines": [1]}"#);
        assert_eq!(first_difference(&ours, &theirs), None);
        let ours = "SF:a.rs\nBRDA:1,0,0,1\nDA:1,1\n";
        assert_eq!(lcov_difference(ours, "SF:a.rs\nDA:1,1\n"), None);
        let told = lcov_difference(ours, "SF:a.rs\nDA:1,2\n").unwrap();
        assert_eq!(told, "a.rs: native DA:1,1, tools DA:1,2");
    }
}
