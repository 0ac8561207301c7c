//! Signed links: large files in, outputs out, once and for a time; and the pages for whoever watches the process.

use reqwest::{Body, StatusCode};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::caller::{Caller, digest, text};
use super::gate::must;
use super::on_both_servers;
use super::place::{Place, Server};

on_both_servers!(
    a_large_file_goes_in_by_a_link_once,
    a_transfer_that_breaks_off_gives_the_link_back,
    a_link_expires,
    an_output_comes_out_by_a_link,
    whoever_watches_the_process_is_answered,
);

/// A link to upload `name` to a new task: the task and the link.
async fn link(caller: &Caller, more: Value) -> (String, String) {
    let task = caller.submit("run").await;
    caller
        .upload(&task, "one.sh", "wc -c < big.bin; sha256sum < big.bin")
        .await;
    let mut ask = json!({"task_id": task, "name": "big.bin"});
    for (field, value) in more.as_object().expect("fields") {
        ask[field] = value.clone();
    }
    let asked = caller.ok("upload_artifact", ask).await;
    assert!(asked["upload_expires_at"].is_string(), "{asked}");
    (task, text(&asked, "/upload_url"))
}

/// PUTs a body; status and answer.
async fn put(caller: &Caller, url: &str, body: impl Into<Body>) -> (StatusCode, Value) {
    let (status, body) = caller.fetched(caller.http.put(url).body(body)).await;
    let answer =
        serde_json::from_slice(&body).unwrap_or_else(|_| panic!("{status}: {}", String::from_utf8_lossy(&body)));
    if !status.is_success() {
        let refusal: &Value = &answer;
        for field in ["code", "message", "retryable", "hint"] {
            assert!(!refusal[field].is_null(), "no {field} in {refusal}");
        }
    }
    (status, answer)
}

fn content(size: usize) -> Vec<u8> {
    (0..251_u8).cycle().take(size).collect()
}

/// A body whose length isn't known, in pieces.
fn streamed(content: &[u8]) -> Body {
    let pieces: Vec<_> = content
        .chunks(1 << 20)
        .map(|piece| Ok::<_, std::io::Error>(piece.to_vec()))
        .collect();
    Body::wrap_stream(futures_util::stream::iter(pieces))
}

async fn a_large_file_goes_in_by_a_link_once(place: &mut Place) {
    place.configure("[uploads]\nmax_size = \"70 MiB\"\n");
    let server = place.serve().await;
    let caller = server.caller();
    let large = content(64 << 20);
    let whole = digest(&large);

    let (task, url) = link(&caller, json!({"digest": whole})).await;
    let (status, refusal) = put(&caller, &url, streamed(&content(1000))).await;
    assert_eq!(
        (status.as_u16(), &refusal["code"]),
        (422, &json!("digest_mismatch")),
        "{refusal}"
    );
    let (status, refusal) = put(&caller, &url, streamed(&content(71 << 20))).await;
    assert_eq!(
        (status.as_u16(), &refusal["code"]),
        (413, &json!("too_large")),
        "{refusal}"
    );

    // Neither used the link up.
    let (status, answer) = put(&caller, &url, streamed(&large)).await;
    assert_eq!(status, StatusCode::CREATED, "{answer}");
    assert_eq!(
        answer["artifact"],
        json!({"name": "big.bin", "size": 64 << 20, "digest": whole})
    );
    let (status, refusal) = put(&caller, &url, "again").await;
    assert_eq!(
        (status.as_u16(), &refusal["code"]),
        (404, &json!("invalid_link")),
        "a second time: {refusal}"
    );

    let execution = caller.start(&task).await;
    let (log, _) = caller.followed(&execution).await;
    let hex = whole.strip_prefix("sha256:").expect("a digest");
    assert!(log.ends_with(&format!("{}\n{hex}  -\n", 64 << 20)), "{log}");

    // A link whose task was started meanwhile.
    let (task, url) = link(&caller, json!({})).await;
    let execution = caller.start(&task).await;
    let (status, refusal) = put(&caller, &url, "late").await;
    assert_eq!(
        (status.as_u16(), &refusal["code"]),
        (409, &json!("already_started")),
        "{refusal}"
    );
    caller.followed(&execution).await;
    forged(&caller, &server).await;
    server.stop().await;
}

async fn forged(caller: &Caller, server: &Server) {
    let (_, url) = link(caller, json!({})).await;
    let (_, other) = link(caller, json!({})).await;
    let signature = |url: &str| url.split("signature=").nth(1).expect("signed").to_owned();
    let expires = url
        .split("expires=")
        .nth(1)
        .and_then(|rest| rest.split('&').next())
        .expect("expires");
    let later = (expires.parse::<i64>().expect("a number") + 1).to_string();
    let forgeries = [
        url.replace(&signature(&url), &signature(&other)),
        url.replace(expires, &later),
        url.replace(&signature(&url), ""),
        url.replace(&signature(&url), "%00"),
        url.replace("/uploads/", "/uploads/x"),
        format!("{}/uploads/x?expires=9999999999999&signature=AAAA", server.url),
    ];
    for forgery in forgeries {
        let (status, refusal) = put(caller, &forgery, "x").await;
        assert_eq!(
            (status.as_u16(), &refusal["code"]),
            (404, &json!("invalid_link")),
            "{forgery}: {refusal}"
        );
    }
    for broken in ["uploads/x", "uploads/x?expires=soon&signature=A", "artifacts/x"] {
        let asked = match broken.starts_with("uploads") {
            true => caller.http.put(format!("{}/{broken}", server.url)),
            false => caller.http.get(format!("{}/{broken}", server.url)),
        };
        let (status, _) = caller.fetched(asked).await;
        assert!(status.is_client_error(), "{broken}: {status}");
    }
    let (status, _) = put(caller, &url, "x").await;
    assert_eq!(status, StatusCode::CREATED, "the right one still works");
}

/// Sends the beginning of a body and goes away.
async fn break_off(server: &Server, url: &str, body: &[u8]) {
    let address = server.url.strip_prefix("http://").expect("an address");
    let path = url.strip_prefix(&server.url).expect("a link of this server");
    let mut stream = TcpStream::connect(address).await.expect("connects");
    let head = format!("PUT {path} HTTP/1.1\r\nhost: {address}\r\ncontent-length: 1000000\r\n\r\n");
    stream.write_all(head.as_bytes()).await.expect("sends");
    stream.write_all(body).await.expect("sends");
    stream.shutdown().await.expect("says that it is over");
    // The server has noticed when it answers or closes.
    let mut rest = Vec::new();
    let _ = must("the server lets go", stream.read_to_end(&mut rest)).await;
}

async fn a_transfer_that_breaks_off_gives_the_link_back(place: &mut Place) {
    let server = place.serve().await;
    let caller = server.caller();
    for sent in [0, 1, 300_000] {
        let (task, url) = link(&caller, json!({})).await;
        break_off(&server, &url, &content(sent)).await;
        let (status, answer) = put(&caller, &url, "whole").await;
        assert_eq!(status, StatusCode::CREATED, "after {sent} bytes: {answer}");
        assert_eq!(answer["artifact"]["size"], 5, "{answer}");
        let execution = caller.start(&task).await;
        let (log, _) = caller.followed(&execution).await;
        assert!(log.contains("\n5\n"), "{log}");
    }
    let scratch = std::fs::read_dir(place.data().join("scratch")).expect("a folder");
    assert_eq!(scratch.count(), 0, "half a file stays in scratch");
    server.stop().await;
}

async fn a_link_expires(place: &mut Place) {
    place.configure("[uploads]\nlink_expires = \"1s\"\n[downloads]\nlink_expires = \"1s\"\n");
    let server = place.serve().await;
    let caller = server.caller();
    let execution = caller.run("mkdir out; echo short > out/short.txt").await;
    let (_, result) = caller.followed(&execution).await;
    let download = text(&result, "/artifacts/0/download_url");
    must("the link expires", async {
        loop {
            let (status, body) = caller.fetched(caller.http.get(&download)).await;
            match status {
                StatusCode::OK => assert_eq!(body, b"short\n"),
                other => return assert_eq!(other, StatusCode::NOT_FOUND),
            }
        }
    })
    .await;
    let (_, url) = link(&caller, json!({"digest": digest(b"right")})).await;
    must("the upload link expires", async {
        loop {
            // What is refused doesn't use the link up.
            let (status, refusal) = put(&caller, &url, "wrong").await;
            match status {
                StatusCode::UNPROCESSABLE_ENTITY => assert_eq!(refusal["code"], "digest_mismatch"),
                other => return assert_eq!(other, StatusCode::NOT_FOUND, "{refusal}"),
            }
        }
    })
    .await;
    let (status, refusal) = put(&caller, &url, "right").await;
    assert_eq!(
        (status.as_u16(), &refusal["code"]),
        (404, &json!("invalid_link")),
        "{refusal}"
    );
    let renewed = caller.result(&execution).await;
    let (status, body) = caller
        .fetched(caller.http.get(text(&renewed, "/artifacts/0/download_url")))
        .await;
    assert_eq!((status.as_u16(), body.as_slice()), (200, &b"short\n"[..]), "a new link");
    server.stop().await;
}

async fn an_output_comes_out_by_a_link(place: &mut Place) {
    let server = place.serve().await;
    let caller = server.caller();
    let execution = caller
        .run("mkdir -p out/deep; seq 1 100000 > out/numbers.txt; echo '<b>x</b>' > 'out/deep/page \"1\".html'")
        .await;
    let (_, result) = caller.followed(&execution).await;
    let artifacts = result["artifacts"].as_array().expect("a list");
    let named = |name: &str| {
        let found = artifacts.iter().find(|artifact| artifact["name"] == name);
        found.unwrap_or_else(|| panic!("no {name} in {result}"))
    };
    let numbers = named("out/numbers.txt");
    let (status, body) = caller.fetched(caller.http.get(text(numbers, "/download_url"))).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(
        (json!(body.len()), json!(digest(&body))),
        (numbers["size"].clone(), numbers["digest"].clone())
    );

    let page = text(named("out/deep/page \"1\".html"), "/download_url");
    let response = caller.http.get(&page).send().await.expect("an answer");
    let header = |name: &str| response.headers()[name].to_str().expect("text").to_owned();
    assert_eq!(
        header("content-disposition"),
        "attachment; filename=\"page__1_.html\"",
        "never shown as a page"
    );
    assert_eq!(header("x-content-type-options"), "nosniff");
    assert_eq!(header("cache-control"), "private, no-store");

    let head = caller.http.head(&page).send().await.expect("an answer");
    assert_eq!(
        (head.status().as_u16(), head.headers()["content-length"].as_bytes()),
        (200, &b"9"[..])
    );
    let upload = page.replace("/artifacts/", "/uploads/");
    let (status, _) = put(&caller, &upload, "x").await;
    assert_eq!(status, StatusCode::NOT_FOUND, "a link for one thing opens no other");
    server.stop().await;
}

async fn whoever_watches_the_process_is_answered(place: &mut Place) {
    let server = place.serve().await;
    let http = server.caller().http;
    for path in ["/healthz", "/readyz"] {
        let url = format!("{}{path}", server.url);
        assert_eq!(
            http.get(&url).send().await.expect("an answer").status(),
            StatusCode::OK,
            "GET {path}"
        );
        assert_eq!(
            http.head(&url).send().await.expect("an answer").status(),
            StatusCode::OK,
            "HEAD {path}"
        );
        let status = http.post(&url).send().await.expect("an answer").status();
        assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED, "POST {path}");
    }
    let nothing = http
        .get(format!("{}/nothing", server.url))
        .send()
        .await
        .expect("an answer");
    assert_eq!(nothing.status(), StatusCode::NOT_FOUND);
    server.stop().await;
}
