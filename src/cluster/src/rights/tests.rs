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
    assert!(rights(&["e2e-*".to_owned()]).contains(&everywhere));
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
