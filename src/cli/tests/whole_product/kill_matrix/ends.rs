//! The ways in which a container ends.

use serde_json::{Value, json};

/// What ends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// The program itself, or the kernel or kubelet because of what it does.
    Itself,
    /// `kubectl delete` with these options, after it made steps.
    Delete(&'static [&'static str]),
    /// It ends itself and is started again in its place; deleted after that.
    Restarts,
}

/// One row of the matrix.
pub struct End {
    /// Also the name of its pods, behind the component's.
    pub name: &'static str,
    /// The languages that have it.
    pub languages: &'static [&'static str],
    /// As the programs of `ground_truth` take it.
    pub args: &'static [&'static str],
    pub by: By,
    /// How Kubernetes and the launcher tell it: exit code, signal or the reason.
    pub told: &'static str,
    /// Processes that count, in each life.
    pub processes: usize,
}

const BOTH: &[&str] = &["rust", "go"];

const fn row(name: &'static str, args: &'static [&'static str], told: &'static str) -> End {
    End {
        name,
        languages: BOTH,
        args,
        by: By::Itself,
        told,
        processes: 1,
    }
}

const ENDLESS: &[&str] = &["step", "0", "2"];

/// All but the SIGKILLs at random and the stop of the node.
pub const ENDS: [End; 19] = [
    row("clean", &["clean", "1000", "2"], "code 0"),
    row("exit", &["exit", "1000", "2"], "code 3"),
    End {
        languages: &["rust"],
        ..row("panic", &["panic", "1000", "2"], "code 101")
    },
    End {
        languages: &["go"],
        ..row("gopanic", &["panic", "1000", "2"], "code 2")
    },
    End {
        languages: &["rust"],
        ..row("abort", &["abort", "1000", "2"], "signal 6")
    },
    End {
        languages: &["go"],
        ..row("fatal", &["fatal", "1000", "2"], "code 1")
    },
    End {
        languages: &["go"],
        ..row("early-exit", &["early-exit", "1000"], "code 4")
    },
    End {
        languages: &["go"],
        ..row("early-panic", &["early-panic", "1000"], "code 2")
    },
    row("killed-by-itself", &["kill", "1000", "2"], "signal 9"),
    End {
        processes: 2,
        ..row("exec", &["exec", "1000", "2"], "code 0")
    },
    End {
        processes: 2,
        ..row("spawn", &["spawn", "1000", "2"], "code 0")
    },
    End {
        by: By::Delete(&[]),
        ..row("handled", &["term", "1000", "2"], "code 0")
    },
    End {
        by: By::Delete(&[]),
        ..row("terminated", ENDLESS, "signal 15")
    },
    End {
        by: By::Delete(&["--grace-period=1"]),
        ..row("shortest", ENDLESS, "signal 15")
    },
    // The API server takes no shorter grace period without force than a second;
    // this pod has none in its own specification.
    End {
        by: By::Delete(&[]),
        ..row("no-grace", ENDLESS, "")
    },
    End {
        by: By::Delete(&["--grace-period=0", "--force"]),
        ..row("forced", ENDLESS, "")
    },
    row("eaten", &["eat", "0", "2"], "OOMKilled"),
    row("evicted", &["fill", "0", "1"], "Evicted"),
    End {
        by: By::Restarts,
        ..row("restarted", &["exit", "1000", "2"], "code 3")
    },
];

/// A pod of one or more containers, each of which counts in a folder of its own.
pub fn pod(
    component: &str,
    name: &str,
    containers: &[(String, Vec<String>)],
    truth: &str,
) -> Value {
    let containers = containers.iter().map(|(container, args)| {
        json!({
            "name": container,
            "image": format!("localhost/truth-{component}:dev"),
            "imagePullPolicy": "IfNotPresent",
            "args": args,
            "env": [
                {"name": "TRUTH_DIR", "value": format!("/truth/{container}")},
                {"name": "FILL_DIR", "value": "/fill"},
            ],
            "resources": {"limits": {"memory": if args[0] == "eat" { "64Mi" } else { "256Mi" }}},
            "volumeMounts": [
                {"name": "truth", "mountPath": "/truth"},
                {"name": "fill", "mountPath": "/fill"},
            ],
        })
    });
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": "truth"},
        "spec": {
            "restartPolicy": if name.ends_with("-restarted") { "Always" } else { "Never" },
            "terminationGracePeriodSeconds": if name.ends_with("-no-grace") { 0 } else { 10 },
            "automountServiceAccountToken": false,
            "enableServiceLinks": false,
            "containers": containers.collect::<Vec<_>>(),
            "securityContext": {"fsGroup": 65532},
            "volumes": [
                {"name": "truth", "hostPath": {"path": truth, "type": "Directory"}},
                {"name": "fill", "emptyDir": {"sizeLimit": "1Mi"}},
            ],
        },
    })
}
