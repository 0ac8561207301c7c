//! A step that looks around and tells all it finds, and everything that can go wrong before it: no caller learns where
//! it ran.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::docker::Containers;
use super::kubernetes::Pods;
use super::site::{place_at, submit, write_far};
use super::ssh::Host;
use crate::server::caller::Caller;
use crate::server::place::Place;

/// Prints what a step can find out of the machine it is on, to its log and to files that are collected, and fails.
const NOSY: &str = r#"
look() {
    for word in "env" "id" "id -un" "whoami" "hostname" "hostname -f" "uname -a" "pwd" "pwd -P" "ls -la" "ls -la .." "ls -la /" \
        "ip addr" "ip route" "ifconfig" "cat /proc/self/mountinfo" "cat /proc/mounts" "cat /proc/self/cgroup" "cat /proc/1/cgroup" \
        "cat /proc/self/environ" "cat /proc/1/environ" "cat /proc/1/cmdline" "cat /proc/1/mountinfo" "cat /proc/net/route" \
        "cat /proc/sys/kernel/hostname" "cat /etc/hosts" "cat /etc/resolv.conf" "cat /etc/hostname" "df" "mount" \
        "ls -laR /clawhand" "ls -laR /clawhand-job" "ls -la /run/secrets/kubernetes.io/serviceaccount" \
        "cat /run/secrets/kubernetes.io/serviceaccount/namespace" "ls -la /proc/self/" "ls /nowhere" "cat $0" "readlink -f ."; do
        echo "-- $word"
        $word
    done
}
mkdir out
look >out/nosy.txt 2>&1
cp out/nosy.txt "out/of-$(hostname).txt"
cp out/nosy.txt "out/$(id -un 2>/dev/null).txt"
look
echo "the directory $PWD on $(hostname)" >&2
exit 3
"#;

/// Everything that a caller can ask of an execution that says no.
async fn hear_of(place: &Place, caller: &Caller, execution: &str) -> (String, Value) {
    let (log, result) = caller.followed(execution).await;
    for artifact in result["artifacts"].as_array().expect("a list") {
        let url = artifact["download_url"].as_str().expect("a link");
        caller.fetched(caller.http.get(url)).await;
    }
    for arguments in [["executions", "logs", execution], ["executions", "show", execution]] {
        place.command(&arguments).await;
    }
    (log, result)
}

/// Uploads that are refused, at once or when they are laid out.
async fn bad_uploads(place: &Place, caller: &Caller) -> String {
    let task = submit(caller, "far", "echo never").await;
    for name in ["../outside", "/etc/passwd", "", "a\u{0}b", ".."] {
        let _ = caller
            .call(
                "upload_artifact",
                json!({"task_id": task, "name": name, "content": "x"}),
            )
            .await;
    }
    let mut archive = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(1);
    header.set_mode(0o644);
    header.as_gnu_mut().expect("is one").name[..10].copy_from_slice(b"../outside");
    header.set_cksum();
    archive.append(&header, &b"x"[..]).expect("added");
    use base64::Engine as _;
    let content = base64::engine::general_purpose::STANDARD.encode(archive.into_inner().expect("packed"));
    let ask = json!({"task_id": task, "name": "bad.tar", "content_base64": content});
    caller.refused("upload_artifact", ask).await;
    // Each is right, and both can't be laid.
    for name in ["taken", "taken/inside"] {
        caller.upload(&task, name, "x").await;
    }
    let execution = caller.start(&task).await;
    let (_, result) = hear_of(place, caller, &execution).await;
    assert_eq!(result["state"], "infra_failed", "{result}");
    execution
}

/// What there is to hear of a target that works; the executions. `shown` is in place of what is found there.
async fn hear_all(place: &Place, caller: &Caller, shown: &[&str]) -> Vec<String> {
    let task = submit(caller, "far", NOSY).await;
    let execution = caller.start(&task).await;
    let (log, result) = hear_of(place, caller, &execution).await;
    assert_eq!(result["state"], "failed", "{result}\n{log}");
    assert!(log.contains("-- readlink -f .\n/workspace\n"), "{log}");
    for word in shown {
        assert!(
            log.contains(word),
            "a step looked around and did not find {word}:\n{log}"
        );
    }
    assert_eq!(result["artifacts"].as_array().map(Vec::len), Some(3), "{result}");
    let bad = bad_uploads(place, caller).await;
    caller.call("list_targets", json!({})).await.expect("lists");
    vec![execution, bad]
}

/// A task that can't be started on a target that had worked a moment ago.
async fn hear_of_outage(place: &Place, caller: &Caller, task: &str) -> String {
    let execution = caller.start(task).await;
    let (_, result) = hear_of(place, caller, &execution).await;
    assert_eq!(result["state"], "infra_failed", "{result}");
    assert_eq!(result["reason"]["code"], "could_not_start", "{result}");
    execution
}

/// A target that never worked.
async fn hear_of_broken(caller: &Caller, target: &str) {
    let ask = json!({
        "project_name": "tales", "goal": "hear a tale", "target_ref": target, "execution_intent": "tell",
    });
    caller.refused("submit_task", ask).await;
}

/// No caller saw any of these.
pub fn assert_unseen(place: &Place, private: &[String]) {
    let mut found = String::new();
    for word in private {
        assert!(word.len() >= 4, "{word:?} would be found anywhere");
        for text in place.seen.all() {
            if let Some(at) = occurrence(&text, word) {
                let around: String = text[..at].chars().rev().take(60).collect();
                let before: String = around.chars().rev().collect();
                let after: String = text[at..].chars().take(word.len() + 60).collect();
                let _ = writeln!(found, "{word:?} in …{before}{after}…");
            }
        }
    }
    assert!(found.is_empty(), "a caller saw\n{found}");
}

/// Where a word is; an address or a port that goes on with a digit is another one.
fn occurrence(text: &str, word: &str) -> Option<usize> {
    let is_digit = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_digit);
    let bytes = text.as_bytes();
    let is_number = is_digit(word.as_bytes().last());
    text.match_indices(word).map(|(at, _)| at).find(|&at| {
        let goes_on =
            is_digit(bytes.get(at + word.len())) || at.checked_sub(1).is_some_and(|before| is_digit(bytes.get(before)));
        !(is_number && goes_on)
    })
}

const IMPATIENT: &str = "[worker]\nlease = \"3s\"\ngrace = \"1s\"\nunreachable = \"2s\"\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_tells_where_an_ssh_target_is() {
    let Some(host) = Host::at_other_address() else { return };
    let place = place_at(&host);
    place.configure(IMPATIENT);
    let nobody = super::cut::unreachable(&host.block);
    write_far(&place, "nobody", &Host::tables_of(&nobody));
    let mut stranger = host.block.clone();
    stranger.user = "cwt-nobody".to_owned();
    write_far(&place, "stranger", &Host::tables_of(&stranger));
    let server = place.serve().await;
    let caller = server.caller();
    hear_all(&place, &caller, &["[host]", "[user]"]).await;
    hear_of_broken(&caller, "nobody").await;
    hear_of_broken(&caller, "stranger").await;
    let task = submit(&caller, "far", "echo never").await;
    // Known by now, and then gone.
    host.way.cut();
    hear_of_outage(&place, &caller, &task).await;
    server.stop().await;
    let mut private = host.private();
    private.extend([format!(":{}", nobody.port), stranger.user]);
    assert_unseen(&place, &private);
    place.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_tells_where_a_docker_target_is() {
    let Some(mut site) = Containers::find().await else {
        return;
    };
    let image = site.image.clone();
    // A name of its own, which can be taken away.
    let options = bollard::query_parameters::TagImageOptionsBuilder::default()
        .repo("registry.story.example/private/tools")
        .tag("7")
        .build();
    site.daemon.docker.tag_image(&image, Some(options)).await.expect("tags");
    site.image = "registry.story.example/private/tools:7".to_owned();
    let place = place_at(&site);
    place.configure(IMPATIENT);
    let absent = Containers::tables_with(&site.endpoint, "registry.story.example/absent:1");
    write_far(&place, "absent", &absent);
    let away = Containers::tables_with("unix:///run/story-7/docker.sock", &site.image);
    write_far(&place, "away", &away);
    let server = place.serve().await;
    let caller = server.caller();
    let mut executions = hear_all(&place, &caller, &["[container]", "[layer]", "[volume]"]).await;
    hear_of_broken(&caller, "absent").await;
    hear_of_broken(&caller, "away").await;
    let task = submit(&caller, "far", "echo never").await;
    let mut private = site.private(&executions).await;
    site.daemon
        .docker
        .remove_image(&site.image, None::<bollard::query_parameters::RemoveImageOptions>, None)
        .await
        .expect("takes the name away");
    executions.push(hear_of_outage(&place, &caller, &task).await);
    server.stop().await;
    private.extend(["story.example".to_owned(), "/run/story-7".to_owned(), image]);
    assert_unseen(&place, &private);
    place.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_tells_where_a_kubernetes_target_is() {
    let Some(site) = Pods::find().await else { return };
    let place = place_at(&site);
    place.configure(IMPATIENT);
    write_far(
        &place,
        "absent",
        &site.tables_with(&site.namespace.name, "registry.story.example/absent:1"),
    );
    write_far(&place, "forbidden", &site.tables_with("story-nowhere-7", &site.image));
    let server = place.serve().await;
    let caller = server.caller();
    hear_all(&place, &caller, &["[pod]", "[container]", "[address]"]).await;
    hear_of_broken(&caller, "absent").await;
    hear_of_broken(&caller, "forbidden").await;
    let task = submit(&caller, "far", "echo never").await;
    site.forbid_jobs().await;
    hear_of_outage(&place, &caller, &task).await;
    server.stop().await;
    let mut private = site.private().await;
    private.extend(["story.example".to_owned(), "story-nowhere".to_owned()]);
    assert_unseen(&place, &private);
    place.end().await;
}
