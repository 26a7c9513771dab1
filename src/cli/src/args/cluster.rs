//! Arguments of the commands that are about a cluster.

use std::ffi::OsString;

use clap::{Args, Subcommand, ValueEnum};

use super::TextOrJson;

/// `podcov cluster …`.
#[derive(Debug, Subcommand)]
pub enum Cluster {
    /// Create the cluster, or make sure that it is up
    Up,
    /// Delete the cluster and everything it left
    Down,
    /// Say what there is
    Status,
    /// Print the variables that make kubectl and others talk to it
    Env,
    /// Run kubectl on it
    Kubectl {
        /// Arguments of kubectl.
        #[arg(
            trailing_var_arg = true,
            allow_hyphen_values = true,
            value_name = "ARG"
        )]
        args: Vec<OsString>,
    },
}

/// `podcov inject …`.
#[derive(Debug, Subcommand)]
pub enum Inject {
    /// Install the webhook for the images of a run, until it is removed
    Install {
        /// Patch pods in this namespace; `START*`: in all whose names begin so, those to come, too
        #[arg(long = "namespace", value_name = "NAME")]
        namespaces: Vec<String>,
    },
    /// Remove the webhook, its namespace, and the labels of others
    Uninstall,
    /// Say whether it answers, and which pods it patches
    Status,
}

/// `podcov deploy`.
#[derive(Debug, Args)]
pub struct Deploy {
    /// Only say what would be changed
    #[arg(long)]
    pub dry_run: bool,
    /// With --dry-run: how to print it
    #[arg(long, value_enum, default_value = "text", requires = "dry_run")]
    pub format: TextOrJson,
}

/// `podcov rbac`.
#[derive(Debug, Args)]
pub struct Rbac {
    /// For this service account; default: podcov/podcov
    #[arg(long, value_name = "NAMESPACE/NAME", conflicts_with_all = ["user", "group"])]
    pub service_account: Option<String>,
    /// For this user, as the cluster's login calls them
    #[arg(long, value_name = "NAME", conflicts_with = "group")]
    pub user: Option<String>,
    /// For everybody in this group
    #[arg(long, value_name = "NAME")]
    pub group: Option<String>,
    /// How to print it
    #[arg(long, value_enum, default_value = "yaml")]
    pub format: YamlOrJson,
}

/// For people or for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum YamlOrJson {
    /// With the reason of each rule as a comment.
    Yaml,
    /// A list of objects.
    Json,
}
