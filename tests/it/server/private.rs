//! What a step can see of the machine, no caller sees.

use serde_json::json;

use super::on_both_servers;
use super::place::{Place, SECRET};

on_both_servers!(nothing_of_the_machine_reaches_a_caller);

const HOST: &str = "build-host-7731";

/// Tells everything it can find out, in the log, in a file, in names of files, and across writes.
const GOSSIP: &str = r#"
mkdir -p out
{ pwd; hostname; cat /proc/sys/kernel/hostname; echo "$HOME $TMPDIR $PATH"; env; id; echo "$LAB_TOKEN"; echo "$LAB_URL"; } > out/all.txt 2>&1
cat out/all.txt
echo "token" > "out/$LAB_TOKEN.txt"
for ((at = 0; at < ${#LAB_TOKEN}; at++)); do printf '%s' "${LAB_TOKEN:$at:1}"; done
echo
echo "[$LAB_TOKEN$LAB_TOKEN]"
ls / > /dev/null; ls "$HOME/../../.." 2>&1; cat "$HOME/../../../secret.key" 2>&1
echo "$PWD/no/such/program"; "$PWD/no/such/program"
exit 1
"#;

async fn nothing_of_the_machine_reaches_a_caller(place: &mut Place) {
    if nix::unistd::geteuid().is_root() {
        place.rename_host(HOST);
    } else {
        eprintln!("left out: the name of the host, which only root can change");
    }
    let server = place.serve().await;
    let caller = server.caller();
    let execution = caller.run(GOSSIP).await;
    let (log, result) = caller.followed(&execution).await;
    assert_eq!(result["state"], "failed", "{result}");
    for shown in ["/workspace\n", "[secret]", "LAB_URL=[private]"] {
        assert!(log.contains(shown), "no {shown} in {log}");
    }
    if nix::unistd::geteuid().is_root() {
        let shown = ["[host]\n[host]\n", "localhost\nlocalhost\n"];
        assert!(
            shown.iter().any(|name| log.contains(name)),
            "another name in its place: {log}"
        );
    }
    assert!(!log.contains("secret.key\n"), "the data folder can't be listed: {log}");
    let name = format!("out/{}.txt", "[secret]");
    let artifacts = result["artifacts"].as_array().expect("a list");
    assert!(artifacts.iter().any(|artifact| artifact["name"] == name), "{result}");
    for artifact in artifacts {
        let url = artifact["download_url"].as_str().expect("a link");
        let (_, body) = caller.fetched(caller.http.get(url)).await;
        assert!(!body.is_empty());
        let read = caller.request("resources/read", json!({"uri": artifact["uri"]}));
        caller.fetched(read).await;
    }
    for arguments in [
        vec!["executions", "logs", &execution],
        vec!["executions", "show", &execution],
        vec!["executions", "show", &execution, "--json"],
        vec!["executions", "list"],
        vec!["artifacts", "list", &execution],
        vec!["tasks", "--json"],
        vec!["targets", "list", "--json"],
    ] {
        place.ok(&arguments).await;
    }
    // What callers write themselves comes back scrubbed as well.
    let echoed = json!({
        "project_name": SECRET, "goal": place.data().display().to_string(), "target_ref": "nowhere", "execution_intent": "run",
    });
    caller.refused("submit_task", echoed).await;
    server.stop().await;
}
