use serde_json::{Value, json};

use super::*;
use crate::{Component, NOT_INJECTED, RUN_ANNOTATION, Unseen};

fn settings() -> Settings {
    let webserver = Component {
        name: "webserver".into(),
        unseen: Unseen::Injected,
        image: Some("localhost/webserver:dev".into()),
        profile_image: Some("localhost/webserver-profile:dev".into()),
        workloads: vec![],
        created_by: None,
        programs: None,
    };
    Settings {
        id: "settings-1".into(),
        composition: "websites".into(),
        namespaces: vec!["e2e-*".into(), "one".into()],
        until: Some(1_000),
        spec: Spec::new("run-1", "/evidence", vec![webserver]),
    }
}

/// The response to an object that is being created, and what was said.
fn ask(resource: &str, object: Value, now: u64) -> (Value, Option<String>) {
    let review = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {
        "uid": "u-1", "operation": "CREATE", "namespace": "sites",
        "resource": {"group": "", "version": "v1", "resource": resource}, "object": object}});
    let Answer { review, said } = answer(&settings(), &review, now).unwrap();
    assert_eq!(review["kind"], "AdmissionReview");
    assert_eq!(review["response"]["uid"], "u-1");
    assert_eq!(review["response"]["allowed"], true);
    (review["response"].clone(), said)
}

fn patch_of(response: &Value) -> Vec<Value> {
    let Some(patch) = response["patch"].as_str() else {
        return vec![];
    };
    assert_eq!(response["patchType"], "JSONPatch");
    serde_json::from_slice(&STANDARD.decode(patch).unwrap()).unwrap()
}

fn pod(image: &str, env: Value) -> Value {
    json!({"metadata": {"name": "web"}, "spec": {"containers": [
        {"name": "web", "image": image, "env": env}]}})
}

#[test]
fn a_pod_of_the_image_map_is_patched_and_others_pass() {
    let (response, said) = ask("pods", pod("localhost/webserver:dev", json!([])), 999);
    let patch = patch_of(&response);
    let annotations = patch.iter().find(|o| o["path"] == "/metadata/annotations");
    assert_eq!(annotations.unwrap()["value"][RUN_ANNOTATION], "run-1");
    assert!(said.unwrap().starts_with("sites/web: patched, "));
    let (response, said) = ask("pods", pod("localhost/other:dev", json!([])), 999);
    assert_eq!(
        (response, said),
        (json!({"uid": "u-1", "allowed": true}), None)
    );
}

#[test]
fn a_pod_that_cannot_be_measured_is_admitted_with_a_warning() {
    let env = json!([{"name": "GOCOVERDIR", "value": format!("/{}", "ü".repeat(300))}]);
    let (response, _) = ask("pods", pod("localhost/webserver:dev", env), 999);
    let warning = response["warnings"][0].as_str().unwrap();
    assert!(warning.starts_with("podcov: not measured: container `web`"));
    assert!(warning.len() <= 256);
    let patch = patch_of(&response);
    assert_eq!(patch.len(), 1);
    assert!(
        patch[0]["value"][NOT_INJECTED]
            .as_str()
            .unwrap()
            .contains("GOCOVERDIR")
    );
}

#[test]
fn a_run_that_is_over_leaves_pods_and_namespaces_alone() {
    let (response, _) = ask("pods", pod("localhost/webserver:dev", json!([])), 1_000);
    assert_eq!(patch_of(&response), [Value::Null; 0]);
    assert!(
        response["warnings"][0]
            .as_str()
            .unwrap()
            .contains("podcov inject uninstall")
    );
    let (response, _) = ask("namespaces", json!({"metadata": {"name": "one"}}), 1_000);
    assert_eq!(patch_of(&response), [Value::Null; 0]);
}

#[test]
fn new_namespaces_get_the_label_where_the_patterns_fit() {
    let patch = |name: &str, labels: Value| {
        let object = json!({"metadata": {"name": name, "labels": labels}});
        patch_of(&ask("namespaces", object, 1).0)
    };
    for name in ["e2e-life-1a", "one"] {
        let added = patch(name, json!({"kubernetes.io/metadata.name": name}));
        assert_eq!(added[0]["path"], "/metadata/labels/podcov.dev~1inject");
        assert_eq!(added[0]["value"], "websites");
    }
    for name in ["e2", "one-more"] {
        assert_eq!(patch(name, json!({})), [Value::Null; 0], "{name}");
    }
    let other = json!({INJECT_LABEL: "other"});
    assert_eq!(patch("one", other), [Value::Null; 0]);
}

#[test]
fn a_probe_gets_the_id_of_the_settings() {
    let probe = json!({"metadata": {"name": "p", "annotations": {PROBE: "?"}}});
    let patch = patch_of(&ask("pods", probe, 1).0);
    assert_eq!(patch[0]["value"], "settings-1");
}

#[test]
fn what_is_no_review_is_an_error() {
    for wrong in [
        json!({}),
        json!([]),
        json!({"request": {"uid": 1}}),
        json!("x"),
    ] {
        assert!(answer(&settings(), &wrong, 1).is_err(), "{wrong}");
    }
}
