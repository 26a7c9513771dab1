//! `podcov.toml`: the composition and how it is run.
//!
//! Reading has two halves: what was typed ([`File`], whose types are also the
//! JSON schema for editors) and what it means ([`Config`], checked). An error
//! of either names file and line.

use std::path::{Path, PathBuf};

use check::{Place, check};
pub use file::*;
use podcov_cluster::registry::Registry;

use crate::exit::{Exit, Failure};

mod check;
mod file;

/// The name that every command looks for.
pub const FILE_NAME: &str = "podcov.toml";

/// What `podcov.toml` means: read, checked, with absolute paths.
#[derive(Debug)]
pub struct Config {
    /// The folder of `podcov.toml`, absolute.
    pub root: PathBuf,
    /// What was typed; every check has passed.
    pub file: File,
    /// `[cluster] registry`.
    pub registry: Option<Registry>,
    /// `[deploy] timeout`.
    pub deploy_timeout: std::time::Duration,
    /// `[e2e] timeout`.
    pub e2e_timeout: std::time::Duration,
    /// `[stop] timeout`.
    pub stop_timeout: std::time::Duration,
}

impl Config {
    /// Finds `podcov.toml` in `start` or the nearest folder above it.
    pub fn find(start: &Path) -> Option<PathBuf> {
        start
            .ancestors()
            .map(|dir| dir.join(FILE_NAME))
            .find(|file| file.is_file())
    }

    /// Reads and checks a file.
    pub fn load(path: &Path) -> Result<Config, Failure> {
        let text = fs_err::read_to_string(path).map_err(|error| {
            Failure::new(
                Exit::Usage,
                format!("cannot read `{}`: {error}", path.display()),
            )
            .help("`podcov init` writes one; `--config FILE` names one elsewhere")
        })?;
        let root = std::path::absolute(path)
            .ok()
            .and_then(|path| path.parent().map(Path::to_path_buf))
            .unwrap_or_else(|| PathBuf::from("."));
        Self::parse(path, &text, root)
    }

    /// The configuration of a command that has no `podcov.toml`.
    pub fn bare(name: &str, root: PathBuf) -> Result<Config, Failure> {
        let text = format!(
            "[composition]\nname = {name:?}\n[[component]]\nname = {name:?}\nlanguage = \"rust\"\n"
        );
        Self::parse(Path::new(FILE_NAME), &text, root)
    }

    fn parse(path: &Path, text: &str, root: PathBuf) -> Result<Config, Failure> {
        let place = Place { path, text };
        let file: File = toml::from_str(text).map_err(|error| {
            let message = error.message().trim().to_owned();
            let help = nearest_of_message(&message).map(|w| format!("did you mean `{w}`?"));
            let mut failure = place.failure(error.span().unwrap_or(0..0), message);
            failure.help = help;
            failure
        })?;
        let mut config = Config {
            root,
            registry: None,
            file,
            deploy_timeout: std::time::Duration::from_secs(180),
            e2e_timeout: std::time::Duration::from_secs(30 * 60),
            stop_timeout: std::time::Duration::from_secs(90),
        };
        check(&config, &place)?;
        let registry = config.file.cluster.registry.as_ref();
        config.registry = registry.and_then(|text| text.get_ref().parse().ok());
        for (typed, meant) in [
            (&config.file.deploy.timeout, &mut config.deploy_timeout),
            (&config.file.e2e.timeout, &mut config.e2e_timeout),
            (&config.file.stop.timeout, &mut config.stop_timeout),
        ] {
            if let Some(typed) = typed {
                *meant = duration(typed.get_ref()).ok_or_else(|| {
                    place
                        .failure(
                            typed.span(),
                            format!("`{}` is no duration", typed.get_ref()),
                        )
                        .help("write it like `90s`, `15m` or `2h`")
                })?;
            }
        }
        Ok(config)
    }

    /// A path of the file, absolute.
    pub fn path(&self, path: impl AsRef<Path>) -> PathBuf {
        self.root.join(path)
    }

    /// The composition's name.
    pub fn name(&self) -> &str {
        self.file.composition.name.get_ref()
    }
}

pub(crate) fn duration(text: &str) -> Option<std::time::Duration> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let number: u64 = digits.parse().ok()?;
    let unit = match &text[digits.len()..] {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => return None,
    };
    Some(std::time::Duration::from_secs(number.checked_mul(unit)?))
}

/// The word most like `word`, if one is like it at all.
pub fn nearest<'a>(word: &str, words: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    words
        .into_iter()
        .map(|candidate| (strsim::jaro_winkler(word, candidate), candidate))
        .filter(|(likeness, _)| *likeness > 0.75)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

/// serde says "unknown field `x`, expected one of `a`, `b`"; this finds what
/// was meant.
fn nearest_of_message(message: &str) -> Option<String> {
    let mut quoted = message.split('`').skip(1).step_by(2);
    let found = quoted.next()?;
    message
        .starts_with("unknown")
        .then(|| nearest(found, quoted).map(str::to_owned))?
}

/// The JSON schema of `podcov.toml`, for editors.
pub fn schema() -> serde_json::Value {
    schemars::schema_for!(File).to_value()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error_of(text: &str) -> String {
        let dir = tempfile::tempdir().unwrap();
        let failure =
            Config::parse(Path::new("podcov.toml"), text, dir.path().to_owned()).unwrap_err();
        assert_eq!(failure.exit, Exit::Usage);
        match failure.help {
            Some(help) => format!("{}\nhelp: {help}", failure.message),
            None => failure.message,
        }
    }

    const HEAD: &str = "[composition]\nname = \"web\"\n[[component]]\nname = \"op\"\n";

    #[test]
    fn wrong_files_get_line_and_remedy() {
        let cases = [
            format!("{HEAD}langauge = \"rust\"\n"),
            format!("{HEAD}language = \"rsut\"\n"),
            format!("{HEAD}language = \"rust\"\ncoverpkg = [\"./...\"]\n"),
            format!("{HEAD}language = \"go\"\ncrates = [\"x\"]\n"),
            format!("{HEAD}language = \"go\"\nmanifest = \"no/such\"\n"),
            format!("{HEAD}language = \"go\"\n[[component]]\nname = \"op\"\nlanguage = \"go\"\n"),
            format!("{HEAD}language = \"go\"\nworkloads = [\"Deployment\"]\nimage = \"x\"\n"),
            format!("{HEAD}language = \"go\"\nworkloads = [\"Deployment/x\"]\n"),
            format!("{HEAD}language = \"go\"\n[[gate]]\nmetric = \"lines\"\nmin = 101.0\n"),
            format!(
                "{HEAD}language = \"go\"\n[[gate]]\nmetric = \"lines\"\nmin = 1.0\ncomponent = \"opp\"\n"
            ),
            format!("{HEAD}language = \"go\"\n[[gate]]\nmetric = \"regions\"\nmin = 1.0\n"),
            format!(
                "{HEAD}language = \"rust\"\n[[gate]]\nmetric = \"statements\"\nmin = 1.0\n\
                 component = \"op\"\n"
            ),
            format!("{HEAD}language = \"go\"\n[e2e]\ntimeout = \"soon\"\n"),
            format!(
                "{HEAD}language = \"go\"\nimage = \"a\"\n[[component]]\nname = \"b\"\n\
                 language = \"go\"\nimage = \"a\"\n"
            ),
            format!(
                "{HEAD}language = \"go\"\nkind = \"workload\"\n\
                 created_by = {{ component = \"op\", env = \"E\", container = \"c\" }}\n"
            ),
            format!(
                "{HEAD}language = \"go\"\n[[component]]\nname = \"w\"\nlanguage = \"go\"\nimage = \"w\"\n\
                 kind = \"workload\"\ncreated_by = {{ component = \"op\", env = \"E\" }}\n"
            ),
            format!(
                "{HEAD}language = \"go\"\n[[component]]\nname = \"w\"\nlanguage = \"go\"\nimage = \"w\"\n\
                 kind = \"workload\"\ncreated_by = {{ component = \"op\" }}\n[deploy]\ninject = \"off\"\n"
            ),
            format!(
                "{HEAD}language = \"go\"\n[deploy]\ninject_namespaces = [\"e2e-*\", \"*-e2e\"]\n"
            ),
            format!("{HEAD}language = \"go\"\n[filter]\nexclude = [\"gen/[\"]\n"),
            format!("{HEAD}language = \"go\"\n[cluster]\nname = \"../up\"\n"),
            format!("{HEAD}language = \"go\"\n[deploy]\nkustomization = \"nowhere\"\n"),
            format!(
                "{HEAD}language = \"go\"\n[cluster]\nprovider = \"embedded\"\nkubeconfig = \"k\"\n"
            ),
            format!("{HEAD}language = \"go\"\n[cluster]\nregistry = \"team\"\n"),
            format!("{HEAD}language = \"go\"\n[cluster]\nregistry = \"r.io/team\"\n"),
            format!(
                "{HEAD}language = \"go\"\n[cluster]\nprovider = \"existing\"\n\
                 load_image = [\"push\", \"{{archive}}\"]\nregistry = \"r.io/team\"\n"
            ),
            "[composition]\nname = \"web\"\n".to_owned(),
            "[composition\n".to_owned(),
        ];
        let all: Vec<String> = cases.iter().map(|text| error_of(text)).collect();
        insta::assert_snapshot!(all.join("\n\n"));
    }

    #[test]
    fn the_nodes_of_kind_have_an_image() {
        let parse = |provider: &str| {
            let text = format!(
                "{HEAD}language = \"go\"\n[cluster]\nprovider = \"{provider}\"\n\
                 kind_image = \"kindest/node:v1.34.0\"\n"
            );
            Config::parse(Path::new("podcov.toml"), &text, "/nowhere".into())
        };
        let image = parse("kind").unwrap().file.cluster.kind_image;
        assert_eq!(image.as_deref(), Some("kindest/node:v1.34.0"));
        let refused = parse("embedded").unwrap_err();
        assert!(
            refused
                .message
                .contains("`kind_image` is of a cluster that kind makes")
        );
    }

    #[test]
    fn durations_have_a_unit() {
        assert_eq!(duration("90s"), Some(std::time::Duration::from_secs(90)));
        assert_eq!(duration("2h"), Some(std::time::Duration::from_secs(7200)));
        assert_eq!(duration("90"), None);
        assert_eq!(duration("s"), None);
    }

    #[test]
    fn the_schema_knows_every_table() {
        let schema = schema();
        for table in [
            "composition",
            "component",
            "cluster",
            "deploy",
            "e2e",
            "gate",
        ] {
            assert!(schema["properties"][table].is_object(), "{table}");
        }
    }
}
