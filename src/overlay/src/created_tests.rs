use serde_json::{Value, json};

use super::*;
use crate::{COMPONENT_ANNOTATION, Programs, RUN_ANNOTATION, VOLUME};

const PRODUCTION: &str = "localhost/webserver:dev";
const PROFILE: &str = "localhost/webserver-profile:dev";

fn spec() -> Spec {
    let component = |name: &str, unseen| Component {
        name: name.into(),
        unseen,
        image: Some(format!("localhost/{name}:dev")),
        profile_image: Some(format!("localhost/{name}-profile:dev")),
        workloads: vec![],
        created_by: None,
        programs: Some(Programs {
            main: format!("/app/{name}"),
            files: vec![],
        }),
    };
    let components = vec![
        component("webserver", Unseen::Injected),
        component("operator", Unseen::Wrong),
    ];
    Spec::new("run-1", "/profiles/run-1/evidence", components)
}

fn pod(container: Value) -> Value {
    let mut container = container;
    container["name"] = "web".into();
    json!({"metadata": {"generateName": "web-7d9f-"}, "spec": {"containers": [container]}})
}

/// What the API server makes of the pod and the patch.
fn patched(pod: &Value, patch: &[Value]) -> Value {
    let mut pod = pod.clone();
    for operation in patch {
        let path = operation["path"].as_str().unwrap();
        let (parent, key) = path.rsplit_once('/').unwrap();
        let key = key.replace("~1", "/").replace("~0", "~");
        let value = operation["value"].clone();
        match (operation["op"].as_str().unwrap(), pod.pointer_mut(parent)) {
            ("add" | "replace", Some(Value::Object(map))) => drop(map.insert(key, value)),
            ("add", Some(Value::Array(items))) if key == "-" => items.push(value),
            ("replace", Some(Value::Array(items))) => items[key.parse::<usize>().unwrap()] = value,
            (op, parent) => panic!("{op} {path} in {parent:?}"),
        }
    }
    pod
}

fn measured(pod: &Value) -> (Value, Vec<String>) {
    match created(&spec(), pod) {
        Created::Measured { patch, warnings } => (patched(pod, &patch), warnings),
        other => panic!("{other:?}"),
    }
}

fn refused(pod: &Value) -> (Value, String) {
    match created(&spec(), pod) {
        Created::Refused { patch, why } => (patched(pod, &patch), why.to_string()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_pod_of_a_controller_gets_what_a_manifest_would() {
    let command = json!(["/app/webserver", "--port", "80"]);
    let given =
        json!({"image": PRODUCTION, "command": command, "env": [{"name": "A", "value": "1"}]});
    let (pod, warnings) = measured(&pod(given));
    let container = &pod["spec"]["containers"][0];
    assert_eq!(container["image"], PROFILE);
    assert_eq!(container["imagePullPolicy"], "IfNotPresent");
    assert_eq!(
        container["command"],
        json!(["/podcov/launcher", "--", "/app/webserver", "--port", "80"])
    );
    let names = container["env"].as_array().unwrap().iter();
    let names: Vec<_> = names.map(|entry| entry["name"].as_str().unwrap()).collect();
    assert_eq!(names[..3], ["A", "PODCOV_RUN", "PODCOV_COMPONENT"]);
    assert_eq!(container["volumeMounts"][0]["name"], VOLUME);
    assert_eq!(
        pod["spec"]["volumes"],
        json!([{"name": VOLUME, "hostPath":
            {"path": "/profiles/run-1/evidence", "type": "Directory"}}])
    );
    assert_eq!(
        pod["metadata"],
        json!({"generateName": "web-7d9f-", "annotations": {
            RUN_ANNOTATION: "run-1", format!("{COMPONENT_ANNOTATION}web"): "webserver"}})
    );
    assert_eq!(warnings, [""; 0]);
}

#[test]
fn a_second_time_changes_nothing() {
    let first = [
        json!({"image": PRODUCTION}),
        json!({"image": PRODUCTION, "command": ["webserver"]}),
    ];
    for container in first {
        let (mut once, _) = measured(&pod(container));
        let again = Created::Measured {
            patch: vec![],
            warnings: vec![],
        };
        assert_eq!(created(&spec(), &once), again);
        // As the API server shows it to the webhook when it asks again.
        for entry in once["spec"]["containers"][0]["env"].as_array_mut().unwrap() {
            if let Some(Value::Object(field)) = entry.pointer_mut("/valueFrom/fieldRef") {
                field.insert("apiVersion".into(), "v1".into());
            }
        }
        assert_eq!(created(&spec(), &once), again);
    }
    let (once, _) = refused(&pod(
        json!({"image": PRODUCTION, "command": ["/bin/other"]}),
    ));
    let Created::Refused { patch, .. } = created(&spec(), &once) else {
        panic!("it was refused before");
    };
    assert_eq!(patch, [Value::Null; 0]);
}

#[test]
fn the_image_decides_by_tag_and_digest() {
    let digest = format!("localhost/webserver@sha256:{}", "0".repeat(64));
    for image in [PRODUCTION, digest.as_str(), PROFILE] {
        let (pod, _) = measured(&pod(json!({"image": image})));
        assert_eq!(pod["spec"]["containers"][0]["image"], PROFILE, "{image}");
    }
    // Another tag, another image, and a component that the manifests show.
    for image in [
        "localhost/webserver:v2",
        "localhost/web:dev",
        "localhost/operator:dev",
    ] {
        let pod = pod(json!({"image": image}));
        assert_eq!(created(&spec(), &pod), Created::Other, "{image}");
    }
}

#[test]
fn only_the_containers_of_the_composition_are_touched() {
    let given = json!({"metadata": {"name": "p"}, "spec": {
        "initContainers": [{"name": "init", "image": PRODUCTION}],
        "containers": [{"name": "proxy", "image": "proxy:1", "env": [
            {"name": "GOCOVERDIR", "value": "/its-own"}]}, {"name": "web", "image": PRODUCTION}],
    }});
    let (pod, _) = measured(&given);
    assert_eq!(pod["spec"]["containers"][0], given["spec"]["containers"][0]);
    assert_eq!(pod["spec"]["initContainers"][0]["image"], PROFILE);
    assert_eq!(pod["spec"]["containers"][1]["image"], PROFILE);
    assert_eq!(pod["spec"]["volumes"].as_array().unwrap().len(), 1);
}

#[test]
fn what_cannot_be_measured_stays_as_it_is_and_says_why() {
    let cases = [
        (
            json!({"env": [{"name": "GOCOVERDIR", "value": "/x"}]}),
            "sets `GOCOVERDIR`",
        ),
        (
            json!({"volumeMounts": [{"name": "v", "mountPath": "/podcov"}]}),
            "mounts volume `v` at /podcov",
        ),
        (
            json!({"command": ["/usr/local/bin/webserver"]}),
            "starts `/usr/local/bin/webserver`, which the profile image of `webserver` does not",
        ),
    ];
    for (mut container, expected) in cases {
        container["image"] = PRODUCTION.into();
        let before = pod(container);
        let (after, why) = refused(&before);
        assert!(why.contains(expected), "{why}");
        assert!(why.contains("Pod/web-7d9f-…"), "{why}");
        assert_eq!(after["spec"], before["spec"]);
        assert_eq!(after["metadata"]["annotations"][NOT_INJECTED], json!(why));
    }
}

#[test]
fn what_the_creator_should_know_is_a_warning() {
    let probe = json!({"exec": {"command": ["/bin/health"]}});
    let (_, warnings) = measured(&pod(json!({"image": PRODUCTION, "livenessProbe": probe})));
    assert!(
        warnings[0].contains("liveness probe runs `/bin/health`"),
        "{warnings:?}"
    );
}
