//! `website-operator [run|crd|version]`; without a word it runs.

use std::process::ExitCode;

use website_operator::{crd, logging, options::Options, run};

fn main() -> ExitCode {
    match command(std::env::args().nth(1).as_deref()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("website-operator: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn command(word: Option<&str>) -> anyhow::Result<()> {
    match word {
        None | Some("run") => {
            let options = Options::from_env(|name| std::env::var(name).ok())?;
            logging::install(&options.log_level)?;
            tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build()?
                .block_on(run::run(options))
        }
        Some("crd") => {
            print!("{}", crd::website_yaml()?);
            Ok(())
        }
        Some("version") => {
            println!("website-operator {}", env!("CARGO_PKG_VERSION"));
            Ok(())
        }
        Some(other) => {
            anyhow::bail!("expected `run`, `crd` or `version`, found `{other}`")
        }
    }
}
