//! Every file of a node: certificates, kubeconfigs, the configuration of each
//! part, and `node.json`, by which process 1 starts them.

use std::fs;
use std::path::{Path, PathBuf};

use k8s_openapi::ByteString;
use serde_json::{Value, json};

use super::certificates::{self, Authority, Pair};
use super::network::Subnet;
use super::program::Program;
use super::tools::Tools;
use super::{files, pause_image};
use crate::provider::Error;

const SERVICE_RANGE: &str = "10.96.0.0/16";
const API_SERVICE: &str = "10.96.0.1";
const DNS_SERVICE: &str = "10.96.0.10";
const POD_RANGE: &str = "10.244.0.0/16";
/// The one node's part of it, which the controller manager gives it, too.
const NODE_POD_RANGE: &str = "10.244.0.0/24";
const OVERLAYFS_MAGIC: u64 = 0x794c_7630;

/// What the files of a node depend on.
pub(crate) struct Plan<'a> {
    /// State folder; all files are below it.
    pub state: &'a Path,
    /// Name of the cluster, of its node and of its context.
    pub name: &'a str,
    pub subnet: Subnet,
    pub link: &'a str,
    pub cgroup: &'a str,
    pub program: &'a Program,
    pub tools: &'a Tools,
    /// Folders that the node must see as the host does.
    pub keep: Vec<PathBuf>,
}

/// The kubeconfig of the administrator, in the state folder.
pub(crate) const ADMIN: &str = "kubeconfig";

impl Plan<'_> {
    /// Writes all of it.
    pub fn write(&self) -> Result<(), Error> {
        for folder in ["log", "pki", "cni", "run"] {
            let folder = self.state.join(folder);
            fs::create_dir_all(&folder).map_err(Error::io("make", &folder))?;
        }
        self.certificates()?;
        self.text("containerd.toml", &self.containerd()?)?;
        self.json("cni/10-podcov.conflist", &cni(self.state))?;
        self.json("kubelet.json", &self.kubelet())?;
        self.json("kube-proxy.json", &self.proxy())?;
        self.json("system.json", &self.system())?;
        self.text("Corefile", &self.corefile())?;
        self.text("resolv.conf", &format!("nameserver {DNS_SERVICE}\n"))?;
        self.json(
            "node.json",
            &json!({
                "hostname": self.name,
                "host_link": self.link,
                "host_address": Subnet::cidr(self.subnet.host),
                "node_address": Subnet::cidr(self.subnet.node),
                "keep": self.keep,
                "processes": self.processes(),
            }),
        )
    }

    fn text(&self, name: &str, text: &str) -> Result<(), Error> {
        files::write_private(&self.state.join(name), text)
    }

    fn json(&self, name: &str, value: &Value) -> Result<(), Error> {
        self.text(name, &format!("{value:#}\n"))
    }

    /// Path of a file below the state folder, as text.
    fn at(&self, name: &str) -> String {
        self.state.join(name).display().to_string()
    }

    fn server(&self) -> String {
        format!("https://{}:6443", self.subnet.node)
    }

    fn certificates(&self) -> Result<(), Error> {
        let pki = self.state.join("pki");
        let authority = Authority::new("podcov")?;
        authority.pair.write(&pki, "ca")?;
        let node = self.subnet.node.to_string();
        let api_names = ["kubernetes", "kubernetes.default", "kubernetes.default.svc"];
        let mut hosts: Vec<String> = api_names.map(String::from).into();
        hosts.extend(
            [
                "kubernetes.default.svc.cluster.local",
                "localhost",
                "127.0.0.1",
            ]
            .map(String::from),
        );
        hosts.extend([API_SERVICE.to_owned(), node.clone()]);
        authority
            .server("kube-apiserver", &hosts)?
            .write(&pki, "apiserver")?;
        let hosts = [self.name.to_owned(), node];
        authority
            .server("kubelet", &hosts)?
            .write(&pki, "kubelet")?;
        let masters = Some("system:masters");
        authority
            .client("kube-apiserver-kubelet-client", masters)?
            .write(&pki, "apiserver-kubelet")?;
        let aggregation = Authority::new("podcov-front-proxy")?;
        aggregation.pair.write(&pki, "front-proxy-ca")?;
        aggregation
            .client("front-proxy-client", None)?
            .write(&pki, "front-proxy")?;
        certificates::service_account_keys(&pki)?;

        let node_user = format!("system:node:{}", self.name);
        for (file, user, group) in [
            (ADMIN, "podcov-admin", masters),
            (
                "kubelet.kubeconfig",
                node_user.as_str(),
                Some("system:nodes"),
            ),
            (
                "controller-manager.kubeconfig",
                "system:kube-controller-manager",
                None,
            ),
            ("scheduler.kubeconfig", "system:kube-scheduler", None),
            ("kube-proxy.kubeconfig", "system:kube-proxy", None),
            ("coredns.kubeconfig", "system:coredns", None),
        ] {
            self.kubeconfig(file, user, &authority, &authority.client(user, group)?)?;
        }
        Ok(())
    }

    fn kubeconfig(
        &self,
        file: &str,
        user: &str,
        authority: &Authority,
        pair: &Pair,
    ) -> Result<(), Error> {
        let data = |pem: &str| json!(ByteString(pem.as_bytes().to_vec()));
        let config = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": self.name, "cluster": {
                "server": self.server(),
                "certificate-authority-data": data(&authority.pair.certificate),
            }}],
            "users": [{"name": user, "user": {
                "client-certificate-data": data(&pair.certificate),
                "client-key-data": data(&pair.key),
            }}],
            "contexts": [{"name": self.name, "context": {"cluster": self.name, "user": user}}],
            "current-context": self.name,
        });
        let text = serde_yaml_ng::to_string(&config)
            .map_err(|error| Error::Other(format!("cannot write a kubeconfig: {error}")))?;
        self.text(file, &text)
    }

    fn containerd(&self) -> Result<String, Error> {
        // The kernel refuses an overlay whose upper layer is on an overlay, as
        // the files of a container are.
        let system = rustix::fs::statfs(self.state)
            .map_err(|errno| Error::io("look at", self.state)(errno.into()))?;
        let snapshotter = if system.f_type as u64 == OVERLAYFS_MAGIC {
            "native"
        } else {
            "overlayfs"
        };
        let state = self.state.display();
        let common = format!(
            r#"root = "{state}/containerd"
state = "{state}/run/containerd"
disabled_plugins = ["io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs"]
[grpc]
address = "{socket}"
[plugins."io.containerd.internal.v1.opt"]
path = "{state}/containerd/opt"
"#,
            socket = self.state.join(SOCKET).display(),
        );
        // The score: a machine may not let even root lower it. AppArmor: the
        // profiles that it would need may not be there.
        let runtime = "restrict_oom_score_adj = true\ndisable_apparmor = true\n\
                       netns_mounts_under_state_dir = true\n";
        let cni = format!(
            "bin_dir = \"{}\"\nconf_dir = \"{state}/cni\"\n",
            self.tools.plugins.display()
        );
        let sandbox = pause_image::NAME;
        let runc = "runtime_type = \"io.containerd.runc.v2\"\n";
        Ok(if self.tools.containerd_major >= 2 {
            let (images, cri) = (
                "io.containerd.cri.v1.images",
                "io.containerd.cri.v1.runtime",
            );
            format!(
                "version = 3\n{common}\
                 [plugins.\"{images}\"]\nsnapshotter = \"{snapshotter}\"\n\
                 [plugins.\"{images}\".pinned_images]\nsandbox = \"{sandbox}\"\n\
                 [plugins.\"{cri}\"]\n{runtime}\
                 [plugins.\"{cri}\".cni]\n{cni}\
                 [plugins.\"{cri}\".containerd.runtimes.runc]\n{runc}"
            )
        } else {
            let cri = "io.containerd.grpc.v1.cri";
            format!(
                "version = 2\n{common}\
                 [plugins.\"{cri}\"]\nsandbox_image = \"{sandbox}\"\n{runtime}\
                 [plugins.\"{cri}\".containerd]\nsnapshotter = \"{snapshotter}\"\n\
                 [plugins.\"{cri}\".cni]\n{cni}\
                 [plugins.\"{cri}\".containerd.runtimes.runc]\n{runc}"
            )
        })
    }

    fn kubelet(&self) -> Value {
        json!({
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "authentication": {
                "anonymous": {"enabled": false},
                "webhook": {"enabled": true},
                "x509": {"clientCAFile": self.at("pki/ca.crt")},
            },
            "authorization": {"mode": "Webhook"},
            "tlsCertFile": self.at("pki/kubelet.crt"),
            "tlsPrivateKeyFile": self.at("pki/kubelet.key"),
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": format!("/{}", self.cgroup),
            "failCgroupV1": false,
            "failSwapOn": false,
            "enforceNodeAllocatable": [],
            "containerRuntimeEndpoint": format!("unix://{}", self.at(SOCKET)),
            "clusterDomain": "cluster.local",
            "clusterDNS": [DNS_SERVICE],
            "resolvConf": self.at("resolv.conf"),
            "podLogsDir": self.at("pods"),
            "volumePluginDir": self.at("volume-plugins"),
            "serializeImagePulls": false,
            // Images are loaded, not pulled: what is collected does not come back.
            "imageGCHighThresholdPercent": 100,
            "evictionHard": {
                "memory.available": "50Mi", "nodefs.available": "100Mi", "imagefs.available": "100Mi",
            },
        })
    }

    fn proxy(&self) -> Value {
        json!({
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
            "kind": "KubeProxyConfiguration",
            "mode": "iptables",
            "clusterCIDR": POD_RANGE,
            "clientConnection": {"kubeconfig": self.at("kube-proxy.kubeconfig")},
            // The limit is the whole machine's, not this network namespace's.
            "conntrack": {"maxPerCore": 0},
            "iptables": {"minSyncPeriod": "100ms"},
        })
    }

    /// CoreDNS's rights, and the Service by which pods reach it on the node.
    fn system(&self) -> Value {
        let labels = json!({"k8s-app": "kube-dns", "kubernetes.io/name": "CoreDNS"});
        let ports = |extra: bool| -> Vec<Value> {
            ["UDP", "TCP"]
                .map(|protocol| {
                    let name = if protocol == "UDP" { "dns" } else { "dns-tcp" };
                    let mut port = json!({"name": name, "protocol": protocol, "port": 53});
                    if extra {
                        port["targetPort"] = json!(53);
                    }
                    port
                })
                .into()
        };
        let role = "system:coredns";
        json!({"apiVersion": "v1", "kind": "List", "items": [
            {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
             "metadata": {"name": role},
             "rules": [
                {"apiGroups": [""], "resources": ["endpoints", "services", "pods", "namespaces"],
                 "verbs": ["list", "watch"]},
                {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"],
                 "verbs": ["list", "watch"]},
             ]},
            {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
             "metadata": {"name": role},
             "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
             "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": role}]},
            {"apiVersion": "v1", "kind": "Service",
             "metadata": {"name": "kube-dns", "namespace": "kube-system", "labels": labels},
             "spec": {"clusterIP": DNS_SERVICE, "ports": ports(true)}},
            {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
             "metadata": {"name": "kube-dns-node", "namespace": "kube-system",
                          "labels": {"kubernetes.io/service-name": "kube-dns"}},
             "addressType": "IPv4",
             "endpoints": [{"addresses": [self.subnet.node.to_string()], "conditions": {"ready": true}}],
             "ports": ports(false)},
        ]})
    }

    fn corefile(&self) -> String {
        format!(
            ".:53 {{\n  bind {}\n  errors\n  ready 127.0.0.1:8181\n  \
             kubernetes cluster.local in-addr.arpa ip6.arpa {{\n    kubeconfig {}\n    \
             pods insecure\n    ttl 5\n  }}\n}}\n",
            self.subnet.node,
            self.at("coredns.kubeconfig")
        )
    }

    fn processes(&self) -> Vec<Value> {
        let applet = |name: &str, options: &[(&str, &str)], after: &[&str], ready: Value| {
            let mut words = vec![self.program.applet(name).display().to_string()];
            words.extend(
                options
                    .iter()
                    .map(|(option, value)| format!("--{option}={value}")),
            );
            self.process(name, words, after, ready)
        };
        let url = |address: &str| json!({"url": address});
        let tools = self.tools;
        let socket = self.at(SOCKET);
        let containerd = vec![
            tools.containerd.display().to_string(),
            "--config".into(),
            self.at("containerd.toml"),
        ];
        let pause = vec![
            tools.ctr.display().to_string(),
            "--address".into(),
            socket.clone(),
            "--namespace".into(),
            "k8s.io".into(),
            "images".into(),
            "import".into(),
            self.program.pause_archive().display().to_string(),
        ];
        let kubectl = vec![
            self.program.applet("kubectl").display().to_string(),
            format!("--kubeconfig={}", self.at(ADMIN)),
            "apply".into(),
            "--server-side".into(),
            format!("--filename={}", self.at("system.json")),
        ];
        let corefile = vec![
            self.program.applet("coredns").display().to_string(),
            "-conf".into(),
            self.at("Corefile"),
        ];
        let (node, data) = (self.subnet.node.to_string(), self.at("etcd"));
        let pki = |name: &str| self.at(&format!("pki/{name}"));
        let api_ready = json!({"url": format!("{}/readyz", self.server()), "ca": pki("ca.crt")});
        let manager = self.at("controller-manager.kubeconfig");
        let scheduler = self.at("scheduler.kubeconfig");
        let api = ["kube-apiserver"];
        vec![
            self.process("containerd", containerd, &[], json!({"unix": socket})),
            applet(
                "etcd",
                &[
                    ("data-dir", &data),
                    ("listen-client-urls", "http://127.0.0.1:2379"),
                    ("advertise-client-urls", "http://127.0.0.1:2379"),
                    ("listen-peer-urls", "http://127.0.0.1:2380"),
                    // Its data does not outlive the cluster.
                    ("unsafe-no-fsync", "true"),
                    // One member need not wait for others before it leads.
                    ("heartbeat-interval", "20"),
                    ("election-timeout", "200"),
                ],
                &[],
                url("http://127.0.0.1:2379/health"),
            ),
            once(self.process("pause-image", pause, &["containerd"], Value::Null)),
            applet(
                "kube-apiserver",
                &[
                    ("etcd-servers", "http://127.0.0.1:2379"),
                    ("secure-port", "6443"),
                    ("advertise-address", &node),
                    ("cert-dir", &self.at("pki")),
                    ("tls-cert-file", &pki("apiserver.crt")),
                    ("tls-private-key-file", &pki("apiserver.key")),
                    ("client-ca-file", &pki("ca.crt")),
                    ("authorization-mode", "Node,RBAC"),
                    ("enable-admission-plugins", "NodeRestriction"),
                    ("allow-privileged", "true"),
                    ("service-cluster-ip-range", SERVICE_RANGE),
                    (
                        "service-account-issuer",
                        "https://kubernetes.default.svc.cluster.local",
                    ),
                    ("service-account-key-file", &pki("service-account.pub")),
                    (
                        "service-account-signing-key-file",
                        &pki("service-account.key"),
                    ),
                    ("kubelet-certificate-authority", &pki("ca.crt")),
                    ("kubelet-client-certificate", &pki("apiserver-kubelet.crt")),
                    ("kubelet-client-key", &pki("apiserver-kubelet.key")),
                    ("kubelet-preferred-address-types", "InternalIP"),
                    ("proxy-client-cert-file", &pki("front-proxy.crt")),
                    ("proxy-client-key-file", &pki("front-proxy.key")),
                    ("requestheader-client-ca-file", &pki("front-proxy-ca.crt")),
                    ("requestheader-allowed-names", "front-proxy-client"),
                    ("requestheader-username-headers", "X-Remote-User"),
                    ("requestheader-group-headers", "X-Remote-Group"),
                    ("requestheader-extra-headers-prefix", "X-Remote-Extra-"),
                ],
                &["etcd"],
                api_ready,
            ),
            once(self.process("system-objects", kubectl, &api, Value::Null)),
            applet(
                "kube-controller-manager",
                &[
                    ("kubeconfig", &manager),
                    ("authentication-kubeconfig", &manager),
                    ("authorization-kubeconfig", &manager),
                    ("bind-address", "127.0.0.1"),
                    ("leader-elect", "false"),
                    ("use-service-account-credentials", "true"),
                    (
                        "service-account-private-key-file",
                        &pki("service-account.key"),
                    ),
                    ("root-ca-file", &pki("ca.crt")),
                    ("cluster-signing-cert-file", &pki("ca.crt")),
                    ("cluster-signing-key-file", &pki("ca.key")),
                    ("allocate-node-cidrs", "true"),
                    ("cluster-cidr", POD_RANGE),
                    ("service-cluster-ip-range", SERVICE_RANGE),
                    ("kube-api-qps", "100"),
                    ("kube-api-burst", "200"),
                ],
                &api,
                Value::Null,
            ),
            applet(
                "kube-scheduler",
                &[
                    ("kubeconfig", &scheduler),
                    ("authentication-kubeconfig", &scheduler),
                    ("authorization-kubeconfig", &scheduler),
                    ("bind-address", "127.0.0.1"),
                    ("leader-elect", "false"),
                ],
                &api,
                Value::Null,
            ),
            applet(
                "kubelet",
                &[
                    ("config", &self.at("kubelet.json")),
                    ("kubeconfig", &self.at("kubelet.kubeconfig")),
                    ("root-dir", &self.at("kubelet")),
                    ("cert-dir", &self.at("pki")),
                    ("hostname-override", self.name),
                    ("node-ip", &node),
                ],
                &["kube-apiserver", "containerd", "pause-image"],
                url("http://127.0.0.1:10248/healthz"),
            ),
            applet(
                "kube-proxy",
                &[
                    ("config", &self.at("kube-proxy.json")),
                    ("hostname-override", self.name),
                ],
                &api,
                url("http://127.0.0.1:10256/healthz"),
            ),
            self.process(
                "coredns",
                corefile,
                &["system-objects"],
                url("http://127.0.0.1:8181/ready"),
            ),
        ]
    }

    fn process(&self, name: &str, args: Vec<String>, after: &[&str], ready: Value) -> Value {
        let mut path = self
            .tools
            .folders
            .iter()
            .fold(String::new(), |path, folder| {
                format!("{path}{}:", folder.display())
            });
        path.push_str("/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        // Nothing of the user's own: no proxies, no GOCOVERDIR, no locale.
        let env = [
            format!("PATH={path}"),
            format!("HOME={}", self.state.display()),
        ];
        json!({"name": name, "args": args, "env": env, "after": after, "ready": ready})
    }
}

/// The runtime's socket below the state folder.
pub(crate) const SOCKET: &str = "run/containerd.sock";

fn once(mut process: Value) -> Value {
    process["once"] = json!(true);
    process
}

fn cni(state: &Path) -> Value {
    json!({
        "cniVersion": "0.4.0",
        "name": "podcov",
        "plugins": [
            {
                "type": "bridge",
                "bridge": "cni0",
                "isGateway": true,
                "ipMasq": true,
                "hairpinMode": true,
                "ipam": {
                    "type": "host-local",
                    "dataDir": state.join("addresses"),
                    "ranges": [[{"subnet": NODE_POD_RANGE}]],
                    "routes": [{"dst": "0.0.0.0/0"}],
                },
            },
            {"type": "portmap", "capabilities": {"portMappings": true}},
        ],
    })
}
