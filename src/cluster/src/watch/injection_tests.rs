use serde_json::json;

use super::*;

const CREATED: &str = "2026-11-21T09:00:30Z";

fn at(second: u32) -> Timestamp {
    format!("2026-11-21T09:00:{second:02}Z").parse().unwrap()
}

fn injection() -> Injection {
    Injection::new(Injects {
        composition: "websites".into(),
        components: vec!["webserver".into()],
        own_namespace: "podcov-hook-websites".into(),
        needs_privileged: true,
    })
}

fn namespace(labels: &serde_json::Value) -> core::Namespace {
    serde_json::from_value(json!({"metadata": {"name": "sites", "labels": labels}})).unwrap()
}

fn missed(injection: &mut Injection, meta: &serde_json::Value) -> String {
    let mut meta = meta.clone();
    meta["uid"] = "u".into();
    let pod = serde_json::from_value(json!({"metadata": meta})).unwrap();
    injection.missed(&pod, "web");
    let place = Place {
        namespace: "sites",
        created: Some(CREATED),
    };
    assert_eq!(injection.why("u", "other", &place), None);
    injection.why("u", "web", &place).unwrap()
}

/// Notes how the webhook's one pod is.
fn webhook_is(injection: &mut Injection, ready: bool, second: u32) {
    let ready = if ready { "True" } else { "False" };
    let pod = json!({
        "metadata": {"uid": "hook", "namespace": "podcov-hook-websites",
            "labels": {AGENT_LABEL: "inject"}},
        "status": {"conditions": [{"type": "Ready", "status": ready}]},
    });
    let pod = serde_json::from_value(pod).unwrap();
    assert!(injection.own_pod_seen(&pod, false, at(second)));
}

#[test]
fn what_the_pod_says_itself_is_the_reason() {
    let mut injection = injection();
    let said = json!({"annotations": {NOT_INJECTED: "container `web` sets `GOCOVERDIR`"}});
    assert_eq!(
        missed(&mut injection, &said),
        "container `web` sets `GOCOVERDIR`"
    );
    let off = json!({"labels": {INJECT_LABEL: "disabled"}});
    assert_eq!(
        missed(&mut injection, &off),
        "its label podcov.dev/inject says `disabled`"
    );
}

#[test]
fn a_namespace_without_the_label_is_the_reason() {
    let mut injection = injection();
    for labels in [json!({}), json!({INJECT_LABEL: "other"})] {
        injection.namespace_seen(&namespace(&labels));
        assert_eq!(
            missed(&mut injection, &json!({})),
            "namespace `sites` has no label podcov.dev/inject=websites"
        );
    }
    injection.namespace_seen(&namespace(
        &json!({INJECT_LABEL: "websites", ENFORCE: "restricted"}),
    ));
    let why = missed(&mut injection, &json!({}));
    assert!(
        why.starts_with("namespace `sites` enforces the `restricted` level"),
        "{why}"
    );
}

#[test]
fn the_time_in_which_no_webhook_was_ready_is_the_reason() {
    let mut injection = injection();
    injection.namespace_seen(&namespace(&json!({INJECT_LABEL: "websites"})));
    // Its first start is not the end of anything.
    webhook_is(&mut injection, false, 1);
    webhook_is(&mut injection, true, 5);
    assert_eq!(injection.findings().count(), 0);
    let silent = "the webhook did not answer in time when the pod was created";
    assert_eq!(missed(&mut injection, &json!({})), silent);
    webhook_is(&mut injection, false, 10);
    webhook_is(&mut injection, true, 20);
    assert_eq!(missed(&mut injection, &json!({})), silent);
    // The API server knew of its end a little before it was said.
    webhook_is(&mut injection, false, 32);
    assert_eq!(
        missed(&mut injection, &json!({})),
        "the webhook was not ready from 2026-11-21T09:00:32Z on"
    );
    webhook_is(&mut injection, true, 40);
    assert_eq!(
        missed(&mut injection, &json!({})),
        "the webhook was not ready from 2026-11-21T09:00:32Z to 2026-11-21T09:00:40Z"
    );
    assert_eq!(injection.findings().count(), 2);
    injection.ends();
    injection.namespace_seen(&namespace(&json!({})));
    assert!(missed(&mut injection, &json!({})).starts_with("the webhook was not ready"));
    webhook_is(&mut injection, false, 50);
    assert_eq!(injection.findings().count(), 2);
}

#[test]
fn a_webhook_that_is_in_no_list_any_more_is_gone() {
    let mut injection = injection();
    webhook_is(&mut injection, true, 5);
    injection.listed(&["hook".to_owned()].into(), at(10));
    assert_eq!(injection.findings().count(), 0);
    injection.listed(&BTreeSet::new(), at(20));
    let found: Vec<Finding> = injection.findings().collect();
    assert!(
        found.len() == 1 && found[0].text.contains("09:00:20Z on"),
        "{found:?}"
    );
}
