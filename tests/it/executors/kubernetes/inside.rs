//! The program itself in a pod, which finds the cluster and its own account there, with the smallest role of
//! docs/TARGETS.md and no kubeconfig.

use std::path::Path;

use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod, ServiceAccount};
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::api::{DeleteParams, LogParams, PostParams};
use kube::{Api, Client};
use serde_json::{Value, json};

use super::super::left_out;
use super::cluster::{self, InNamespace};
use super::rights::documented;

/// Where the program runs: nothing of it is in the namespace that it works in.
struct Home {
    client: Client,
    name: String,
}

impl Home {
    async fn make(system: &InNamespace) -> Self {
        let (client, name) = (system.client.clone(), format!("{}-home", system.name));
        let namespaces: Api<Namespace> = Api::all(client.clone());
        let namespace = of(json!({"metadata": {"name": name}}));
        namespaces
            .create(&PostParams::default(), &namespace)
            .await
            .expect("makes a namespace");
        let home = Self { client, name };
        // A pod is refused until this is there for it to be told whom to trust.
        let maps: Api<ConfigMap> = Api::namespaced(home.client.clone(), &home.name);
        let is_there = |map: Option<&ConfigMap>| map.is_some();
        kube::runtime::wait::await_condition(maps, "kube-root-ca.crt", is_there)
            .await
            .expect("has an authority");
        home
    }

    async fn create<T>(&self, object: Value) -> T
    where
        T: kube::Resource<Scope = kube::core::NamespaceResourceScope> + serde::de::DeserializeOwned,
        T: serde::Serialize + Clone + std::fmt::Debug,
        <T as kube::Resource>::DynamicType: Default,
    {
        let api: Api<T> = Api::namespaced(self.client.clone(), &self.name);
        api.create(&PostParams::default(), &of(object)).await.expect("makes it")
    }

    /// Runs a pod to its end, and tells how it ended and what it said.
    async fn run(&self, pod: Value) -> (String, String) {
        self.create::<Pod>(pod).await;
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &self.name);
        let phase = |pod: Option<&Pod>| pod?.status.as_ref()?.phase.clone();
        let is_over = |pod: Option<&Pod>| phase(pod).is_some_and(|phase| phase == "Succeeded" || phase == "Failed");
        let ended = kube::runtime::wait::await_condition(pods.clone(), "clawhand", is_over).await;
        let phase = phase(ended.expect("ends").as_ref());
        let said = pods
            .logs("clawhand", &LogParams::default())
            .await
            .expect("says something");
        (phase.expect("has a phase"), said)
    }
}

fn of<T: serde::de::DeserializeOwned>(object: Value) -> T {
    serde_json::from_value(object).expect("is one")
}

/// Lets the program's account do in the namespace what the documentation says it needs.
async fn allow(system: &InNamespace, home: &Home) {
    let post = PostParams::default();
    let meta = json!({"name": "clawhand"});
    let roles: Api<Role> = Api::namespaced(system.client.clone(), &system.name);
    let role = of(json!({"metadata": meta, "rules": documented()}));
    roles.create(&post, &role).await.expect("makes a role");
    let bindings: Api<RoleBinding> = Api::namespaced(system.client.clone(), &system.name);
    let binding = of(json!({"metadata": meta,
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "clawhand"},
        "subjects": [{"kind": "ServiceAccount", "name": "clawhand", "namespace": home.name}]}));
    bindings.create(&post, &binding).await.expect("binds the role");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_program_finds_its_cluster_and_works_in_it() {
    let Some(system) = cluster::namespace().await else {
        return;
    };
    if crate::executors::variable("CLAWHAND_TEST_CLUSTER").is_none() {
        return left_out(
            "clawhand in a pod",
            "the node has no built program (CLAWHAND_TEST_CLUSTER)",
        );
    }
    let home = Home::make(&system).await;
    home.create::<ServiceAccount>(json!({"metadata": {"name": "clawhand"}}))
        .await;
    allow(&system, &home).await;
    let target = format!(
        "name = \"cluster\"\ndescription = \"where it lives\"\nintents = [\"test\"]\n[executor]\nkind = \"kubernetes\"\n\
         namespace = \"{}\"\nimage = \"{}\"\npull_policy = \"IfNotPresent\"\n",
        system.name,
        cluster::python_image()
    );
    let test = "echo \"1..1\"; echo \"ok 1 - it runs in $(uname -n)\"\n";
    home.create::<ConfigMap>(json!({"metadata": {"name": "files"}, "data": {"cluster.toml": target, "test.sh": test}}))
        .await;
    // The network of these pods has no services, so the program gets the address that a service would lead to.
    let kubeconfig = kube::config::Kubeconfig::read_from(&system.kubeconfig).expect("reads the kubeconfig");
    let server = kubeconfig.clusters[0]
        .cluster
        .as_ref()
        .and_then(|cluster| cluster.server.clone());
    let server: http::Uri = server.expect("names a server").parse().expect("is an address");
    let program = Path::new(env!("CARGO_BIN_EXE_clawhand"))
        .parent()
        .expect("is in a folder");
    let script = "set -e; mkdir /data/targets /data/project; cp /files/cluster.toml /data/targets; cp /files/test.sh /data/project\n\
        /program/clawhand targets probe cluster --json\necho --- run\n/program/clawhand run /data/project --target cluster --intent test --json";
    let env = |name: &str, value: &str| json!({"name": name, "value": value});
    let (phase, said) = home
        .run(json!({"metadata": {"name": "clawhand"}, "spec": {
            "serviceAccountName": "clawhand", "restartPolicy": "Never", "hostNetwork": true,
            "containers": [{
                "name": "clawhand", "image": cluster::python_image(), "imagePullPolicy": "IfNotPresent",
                "command": ["sh", "-c", script],
                "env": [
                    env("KUBERNETES_SERVICE_HOST", server.host().expect("has a host")),
                    env("KUBERNETES_SERVICE_PORT", &server.port_u16().expect("has a port").to_string()),
                    env("CLAWHAND_DATA", "/data/data"), env("CLAWHAND_TARGETS", "/data/targets"),
                ],
                "volumeMounts": [
                    {"name": "program", "mountPath": "/program", "readOnly": true},
                    {"name": "files", "mountPath": "/files"}, {"name": "data", "mountPath": "/data"},
                ],
            }],
            "volumes": [
                {"name": "program", "hostPath": {"path": program, "type": "Directory"}},
                {"name": "files", "configMap": {"name": "files"}}, {"name": "data", "emptyDir": {}},
            ],
        }}))
        .await;
    let namespaces: Api<Namespace> = Api::all(system.client.clone());
    namespaces
        .delete(&home.name, &DeleteParams::background())
        .await
        .expect("deletes the namespace");
    assert_eq!(phase, "Succeeded", "{said}");
    let (probed, result) = said.split_once("--- run").expect("probed and ran");
    assert!(probed.contains("\"tools\""), "{probed}");
    assert!(
        result.contains("\"succeeded\"") && result.contains("it runs in step"),
        "{result}"
    );
}
