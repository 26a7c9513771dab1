use super::*;
use crate::overlay::Spec;

fn webhook() -> Webhook {
    Webhook {
        composition: "websites".into(),
        image: "localhost/podcov-agent:1".into(),
        namespaces: vec!["e2e-*".into()],
        lasts: Some(Duration::from_secs(60)),
        spec: Spec::new("run-1", "/evidence", vec![]),
    }
}

#[test]
fn pods_pass_when_the_webhook_does_not_answer() {
    let objects = Objects::new(&webhook()).unwrap();
    let hooks = objects.configuration["webhooks"].as_array().unwrap();
    assert_eq!(hooks.len(), 2);
    for hook in hooks {
        assert_eq!(hook["failurePolicy"], "Ignore");
        assert_eq!(hook["timeoutSeconds"], TIMEOUT_SECONDS);
        assert_eq!(
            hook["clientConfig"]["service"]["namespace"],
            "podcov-hook-websites"
        );
        assert_eq!(hook["rules"][0]["operations"], json!(["CREATE"]));
    }
    let mut without = webhook();
    without.namespaces = vec![];
    let objects = Objects::new(&without).unwrap();
    assert_eq!(
        objects.configuration["webhooks"].as_array().unwrap().len(),
        1
    );
}

#[test]
fn it_sees_pods_of_labelled_namespaces_and_never_its_own() {
    let objects = Objects::new(&webhook()).unwrap();
    let pods = &objects.configuration["webhooks"][0];
    assert_eq!(
        pods["namespaceSelector"]["matchExpressions"][0],
        json!({"key": INJECT_LABEL, "operator": "In", "values": ["websites"]})
    );
    let own = &pods["objectSelector"]["matchExpressions"][0];
    assert_eq!(
        own,
        &json!({"key": AGENT_LABEL, "operator": "DoesNotExist"})
    );
    let deployment = &objects.pods[2];
    assert!(deployment["spec"]["template"]["metadata"]["labels"][AGENT_LABEL].is_string());
}

#[test]
fn every_installation_has_a_certificate_and_an_id_of_its_own() {
    let (one, other) = (
        Objects::new(&webhook()).unwrap(),
        Objects::new(&webhook()).unwrap(),
    );
    assert_ne!(one.settings_id, other.settings_id);
    let certificate = |objects: &Objects| objects.pods[0]["stringData"]["tls.crt"].clone();
    assert_ne!(certificate(&one), certificate(&other));
    let settings = one.pods[0]["stringData"]["settings.json"].as_str().unwrap();
    let settings: Settings = serde_json::from_str(settings).unwrap();
    assert_eq!(settings.id, one.settings_id);
    assert_eq!(settings.spec, webhook().spec);
    assert!(settings.until.is_some());
}

#[test]
fn what_a_run_installs_is_marked() {
    let mark = |webhook: &Webhook| {
        let objects = Objects::new(webhook).unwrap();
        objects.configuration["metadata"]["labels"][OF_RUN].clone()
    };
    assert_eq!(mark(&webhook()), "run-1");
    let mut by_hand = webhook();
    by_hand.lasts = None;
    assert_eq!(mark(&by_hand), Value::Null);
}
