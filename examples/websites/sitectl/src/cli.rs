//! What can be said on the command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use website_api::parse_duration;

/// Make, look at and change websites.
#[derive(Debug, Parser)]
#[command(version)]
pub struct Arguments {
    /// Namespace; that of the kubeconfig's context or of the pod if not set
    #[arg(short, long, global = true, env = "SITECTL_NAMESPACE")]
    pub namespace: Option<String>,
    /// What to do
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make a website
    Create(Create),
    /// Make or change the websites of a file
    Apply {
        /// YAML with one or more websites; - for standard input
        #[arg(short, long)]
        file: PathBuf,
    },
    /// List websites
    List {
        /// Of all namespaces
        #[arg(short = 'A', long)]
        all: bool,
        /// How
        #[arg(short, long, value_enum, default_value = "table")]
        output: Output,
    },
    /// Show a website with its conditions and events
    Describe {
        /// Its name
        name: String,
    },
    /// Wait until a website is in a state (exit 3 if it is not in time)
    Wait {
        /// Its name
        name: String,
        /// What to wait for
        #[arg(long = "for", value_enum, default_value = "ready")]
        state: State,
        /// How long
        #[arg(long, default_value = "60s", value_parser = parse_duration)]
        timeout: Duration,
    },
    /// Say at once whether a website is served (exit 3 if not)
    Check {
        /// Its name
        name: String,
    },
    /// Change the number of web servers
    Scale {
        /// Its name
        name: String,
        /// How many
        #[arg(value_parser = clap::value_parser!(i32).range(0..=10))]
        replicas: i32,
    },
    /// Switch the maintenance notice
    Maintenance {
        /// Its name
        name: String,
        /// On or off
        #[arg(value_enum)]
        switch: Switch,
    },
    /// Set or remove a page
    Page {
        /// Name of the website
        name: String,
        /// Path of the page
        path: String,
        /// Its text; without it, the page is removed
        text: Option<String>,
    },
    /// Set the audit token of a website
    Audit {
        /// Its name
        name: String,
        /// Any text; each new one is recorded once
        token: String,
    },
    /// Write a website as it can be applied elsewhere
    Export {
        /// Its name
        name: String,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Delete a website
    Delete {
        /// Its name
        name: String,
        /// Wait until it is gone
        #[arg(long)]
        wait: bool,
        /// Do not mind if it does not exist
        #[arg(long)]
        ignore_missing: bool,
    },
    /// Make the welcome site of a new installation and wait until it is served
    Seed {
        /// Its name
        name: String,
        /// Its host
        #[arg(long)]
        host: String,
        /// How long to wait
        #[arg(long, default_value = "60s", value_parser = parse_duration)]
        timeout: Duration,
    },
}

/// A new website.
#[derive(Debug, Args)]
pub struct Create {
    /// Its name
    pub name: String,
    /// Its host
    #[arg(long)]
    pub host: String,
    /// Pages, as PATH=TEXT
    #[arg(long = "page", value_parser = pair)]
    pub pages: Vec<(String, String)>,
    /// Pages from files, as PATH=FILE
    #[arg(long = "page-file", value_parser = pair)]
    pub page_files: Vec<(String, String)>,
    /// Redirects, as FROM=TO
    #[arg(long = "redirect", value_parser = pair)]
    pub redirects: Vec<(String, String)>,
    /// Headers, as NAME=VALUE
    #[arg(long = "header", value_parser = pair)]
    pub headers: Vec<(String, String)>,
    /// Title
    #[arg(long)]
    pub title: Option<String>,
    /// Number of web servers
    #[arg(long, default_value_t = 1)]
    pub replicas: i32,
    /// Serve over HTTPS
    #[arg(long)]
    pub tls: bool,
    /// How long the certificate is good for
    #[arg(long, requires = "tls")]
    pub validity: Option<String>,
    /// Wait until it is served
    #[arg(long)]
    pub wait: bool,
    /// Show what would be made
    #[arg(long)]
    pub dry_run: bool,
}

/// How a list is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// Columns for people
    Table,
    /// One name a line
    Name,
    /// A JSON array
    Json,
}

/// A state of a website.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum State {
    /// All web servers serve the current content
    Ready,
    /// The specification is accepted
    Accepted,
    /// The specification is refused
    Refused,
    /// It is gone
    Deleted,
}

/// On or off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Switch {
    /// On
    On,
    /// Off
    Off,
}

fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(format!("expected KEY=VALUE, found `{text}`")),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_makes_sense_to_clap() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn a_pair_may_have_equal_signs_in_its_value() {
        assert_eq!(pair("/=a=b"), Ok(("/".to_owned(), "a=b".to_owned())));
        assert!(pair("=x").is_err());
        assert!(pair("x").is_err());
    }

    #[test]
    fn a_validity_needs_tls() {
        let words = [
            "sitectl",
            "create",
            "a",
            "--host",
            "a.b",
            "--validity",
            "1h",
        ];
        assert!(Arguments::try_parse_from(words).is_err());
    }
}
