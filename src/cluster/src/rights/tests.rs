use kube::api::ApiResource;
use kube::core::GroupVersionKind;
use serde_json::json;

use super::*;

fn object(value: Value, plural: &str, is_namespaced: bool) -> Object {
    let (version, kind) = (text(&value, "/apiVersion"), text(&value, "/kind"));
    let (group, version) = version.split_once('/').unwrap_or(("", version));
    let gvk = GroupVersionKind::gvk(group, version, kind);
    Object {
        resource: ApiResource::from_gvk_with_plural(&gvk, plural),
        namespace: is_namespaced.then(|| text(&value, "/metadata/namespace").to_owned()),
        name: text(&value, "/metadata/name").to_owned(),
        is_known: true,
        value,
    }
}

const VERSION: &str = "rbac.authorization.k8s.io/v1";

/// A small operator with everything that has a say in the rights.
fn objects() -> Vec<Object> {
    let meta = |name: &str| json!({"name": name, "namespace": "shop"});
    vec![
        object(
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}}),
            "namespaces",
            false,
        ),
        object(
            json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
                   "metadata": {"name": "tills.shop.example"},
                   "spec": {"group": "shop.example", "names": {"plural": "tills"}}}),
            "customresourcedefinitions",
            false,
        ),
        object(
            json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": meta("op"), "spec": {}}),
            "deployments",
            true,
        ),
        object(
            json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": meta("web"), "spec": {"replicas": 2}}),
            "deployments",
            true,
        ),
        object(
            json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": meta("load")}),
            "jobs",
            true,
        ),
        object(
            json!({"apiVersion": VERSION, "kind": "ClusterRole", "metadata": {"name": "op"},
                   "rules": [{"apiGroups": ["shop.example"], "resources": ["tills"], "verbs": ["*"]},
                             {"nonResourceURLs": ["/metrics"], "verbs": ["get"]}]}),
            "clusterroles",
            false,
        ),
        object(
            json!({"apiVersion": VERSION, "kind": "ClusterRoleBinding", "metadata": {"name": "op"},
                   "roleRef": {"kind": "ClusterRole", "name": "op"}}),
            "clusterrolebindings",
            false,
        ),
        object(
            json!({"apiVersion": VERSION, "kind": "RoleBinding", "metadata": meta("view"),
                   "roleRef": {"kind": "ClusterRole", "name": "view"}}),
            "rolebindings",
            true,
        ),
    ]
}

fn rights(creates_pods: bool) -> Vec<Right> {
    let composition = Composition {
        rendering: &[],
        creates_pods,
        has_clients: false,
        webhook: None,
    };
    of(&objects(), &composition)
}

#[test]
fn the_manifest_has_the_least_rights_with_their_reasons() {
    let subject = Subject::ServiceAccount {
        namespace: "ci".into(),
        name: "podcov".into(),
    };
    let (values, yaml) = manifest(&rights(false), &subject, "podcov-shop");
    insta::assert_snapshot!(yaml);
    // The comments are all that the text has beyond the objects.
    let documents = yaml.split("---\n");
    let read: Vec<Value> = documents
        .map(|d| serde_yaml_ng::from_str(d).unwrap())
        .collect();
    assert_eq!(read, values);
}

#[test]
fn no_right_is_given_twice_and_none_is_too_wide() {
    for creates_pods in [false, true] {
        let all = rights(creates_pods);
        let mut seen = BTreeSet::new();
        for right in &all {
            assert!(
                seen.insert(Right {
                    why: "",
                    ..right.clone()
                }),
                "{right}"
            );
            let theirs = right.why == HAND_OUT;
            assert!(theirs || right.verb != "*", "{right}");
            assert!(!right.resource.contains("exec"), "{right}");
        }
        let deletes = |r: &&Right| r.resource == "pods" && r.verb == "delete";
        let places: Vec<_> = all
            .iter()
            .filter(deletes)
            .map(|r| r.namespace.as_deref())
            .collect();
        let expected: &[Option<&str>] = match creates_pods {
            true => &[None],
            false => &[Some("shop")],
        };
        assert_eq!(places, expected);
    }
}

#[test]
fn the_webhook_needs_its_own_namespace_and_labels_on_others() {
    let rights = |namespaces: &[String]| {
        let composition = Composition {
            rendering: &[],
            creates_pods: false,
            has_clients: false,
            webhook: Some(Injection {
                composition: "shop",
                namespaces,
            }),
        };
        let all: Vec<String> = of(&objects(), &composition)
            .iter()
            .map(Right::to_string)
            .collect();
        all
    };
    let named = rights(&["e2e".to_owned()]);
    let to_label = "to see and label the namespaces whose pods are patched";
    let to_install = "to install the webhook and remove it at the end";
    for expected in [
        format!("create secrets `inject` in namespace podcov-hook-shop, {to_install}"),
        format!("create pods in namespace podcov-hook-shop, {to_install}"),
        format!("patch namespaces `e2e` in the whole cluster, {to_label}"),
        "delete pods in namespace e2e, to end pods that the webhook patched".to_owned(),
        "get pods/log in namespace e2e, to keep the logs of measured pods".to_owned(),
        format!("watch namespaces in the whole cluster, {to_label}"),
    ] {
        assert!(named.contains(&expected), "{expected}: {named:#?}");
    }
    let hooks = "mutatingwebhookconfigurations.admissionregistration.k8s.io `podcov-inject-shop`";
    assert!(
        named
            .iter()
            .any(|right| right.starts_with(&format!("delete {hooks}"))),
        "{named:#?}"
    );
    let everywhere = format!("patch namespaces in the whole cluster, {to_label}");
    assert!(!named.contains(&everywhere));
    let all = rights(&["e2e-*".to_owned()]);
    assert!(all.contains(&everywhere));
    let logs = "get pods/log in the whole cluster, to keep the logs of measured pods";
    assert!(all.iter().any(|right| right == logs), "{all:#?}");
}

#[test]
fn what_podcov_needs_itself_is_not_needed_to_hand_out_alone() {
    let mut objects = objects();
    let rules = json!([
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["list", "delete"]},
        {"nonResourceURLs": ["*"], "verbs": ["get"]},
    ]);
    let role = objects
        .iter_mut()
        .find(|object| object.kind() == "ClusterRole");
    role.unwrap().value["rules"] = rules;
    let composition = Composition {
        rendering: &[],
        creates_pods: false,
        has_clients: false,
        webhook: None,
    };
    let all = of(&objects, &composition);
    let why = |verb: &str, namespace: Option<&str>| {
        let is_it = |right: &&Right| {
            (right.resource.as_str(), right.verb.as_str()) == ("pods", verb)
                && right.namespace.as_deref() == namespace
        };
        let found: Vec<&str> = all.iter().filter(is_it).map(|right| right.why).collect();
        assert_eq!(found.len(), 1, "{verb} {namespace:?}: {found:?}");
        found[0]
    };
    assert_ne!(why("list", None), HAND_OUT);
    assert_ne!(why("delete", Some("shop")), HAND_OUT);
    assert_eq!(why("delete", None), HAND_OUT);
    let paths: Vec<String> = all
        .iter()
        .filter(|right| right.is_path)
        .map(Right::to_string)
        .collect();
    assert_eq!(paths, [format!("get *, to {HAND_OUT}")]);
    let (_, yaml) = manifest(&all, &Subject::User("jane".into()), "podcov-shop");
    assert!(yaml.contains("nonResourceURLs: [\"*\"]"), "{yaml}");
    assert!(!yaml.contains("resources: [\"*\"]"), "{yaml}");
}

#[test]
fn rights_are_told_as_kubernetes_calls_them() {
    let all: Vec<String> = rights(false).iter().map(Right::to_string).collect();
    for expected in [
        "watch pods in the whole cluster, to see every pod of the run from its first moment",
        "patch deployments.apps/scale `web` in namespace shop, to stop what was deployed",
        "get /metrics, to hand out the rights that your own roles have",
        "bind clusterroles.rbac.authorization.k8s.io `view` in namespace shop, to bind a role that \
         your manifests name",
    ] {
        assert!(
            all.iter().any(|right| right == expected),
            "{expected}: {all:#?}"
        );
    }
}
