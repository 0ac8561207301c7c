//! Blobs: what was acknowledged is there and is what was written, in a folder and in S3.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read as _, Seek as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;

use bytes::Bytes;
use clawhand::blobs::{BlobError, BlobSettings, Blobs};
use clawhand::domain::{Blob, CopyId, Digest};
use futures_util::TryStreamExt as _;
use tempfile::TempDir;

const MIB: usize = 1024 * 1024;

fn settings(url: String, scratch: PathBuf) -> BlobSettings {
    BlobSettings {
        url,
        scratch,
        aws: BTreeMap::new(),
    }
}

fn in_folder(root: &Path) -> Blobs {
    let url = format!("file://{}", root.join("blobs").display());
    Blobs::open(&settings(url, root.join("scratch"))).expect("opens")
}

fn local() -> (TempDir, Blobs) {
    let root = tempfile::tempdir().expect("a folder");
    let blobs = in_folder(root.path());
    (root, blobs)
}

fn path_of(root: &Path, blob: Blob) -> PathBuf {
    let hex = blob.digest.hex();
    let name = format!("{}.{}", &hex[2..], blob.copy);
    root.join("blobs/sha256").join(&hex[..2]).join(name)
}

/// A blob that nobody wrote.
fn absent(digest: Digest) -> Blob {
    let copy = CopyId::random();
    Blob { digest, copy }
}

/// Bytes that are different everywhere, so that a wrong order shows.
fn content(size: usize) -> Bytes {
    let pages = (0..=255_u8).cycle().flat_map(|page| [page; 65_536]);
    (0..=250_u8)
        .cycle()
        .zip(pages)
        .map(|(n, page)| n ^ page)
        .take(size)
        .collect()
}

/// Scratch files are gone, whatever happened.
fn expect_no_scratch(root: &Path) {
    let left = fs::read_dir(root.join("scratch")).expect("reads").count();
    assert_eq!(left, 0, "scratch files are left");
}

fn s3_settings(endpoint: &str, bucket: &str, scratch: &Path) -> BlobSettings {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let aws = [
        ("AWS_ENDPOINT_URL", endpoint),
        ("AWS_ALLOW_HTTP", "true"),
        ("AWS_REGION", "us-east-1"),
        ("AWS_ACCESS_KEY_ID", "id"),
        ("AWS_SECRET_ACCESS_KEY", "key-that-is-not-shown"),
        ("AWS_PAGER", "ignored"),
    ];
    BlobSettings {
        url: format!("s3://{bucket}/some/prefix"),
        scratch: scratch.join("scratch"),
        aws: aws
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect(),
    }
}

/// The blobs of a new bucket, if a server is there.
async fn s3(name: &str) -> Option<(TempDir, Blobs)> {
    let Some(endpoint) = std::env::var_os("CLAWHAND_TEST_S3") else {
        assert!(std::env::var_os("CI").is_none(), "CLAWHAND_TEST_S3 must be set in CI");
        eprintln!("left out: CLAWHAND_TEST_S3 is not set, so S3 is not tested ({name})");
        return None;
    };
    let endpoint = endpoint.to_str().expect("text").trim_end_matches('/').to_owned();
    let root = tempfile::tempdir().expect("a folder");
    let bucket = format!("{name}-{}", std::process::id());
    let settings = s3_settings(&endpoint, &bucket, root.path());
    let made = reqwest::Client::new()
        .put(format!("{endpoint}/{bucket}"))
        .send()
        .await
        .expect("S3 answers");
    assert!(made.status().is_success(), "{made:?}");
    Some((root, Blobs::open(&settings).expect("opens")))
}

/// What every store promises.
async fn keeps_its_promises(root: &Path, blobs: &Blobs) {
    for size in [0, 1, 100_000, 9 * MIB + 1] {
        let bytes = content(size);
        let (digest, whole) = (Digest::of(&bytes), size as u64);
        let never = absent(digest);
        assert!(matches!(blobs.read(never, 1).await, Err(BlobError::NotFound)), "{size}");
        assert!(
            matches!(blobs.stream(never).await.err(), Some(BlobError::NotFound)),
            "{size}"
        );

        let mut writer = blobs.writer().await.expect("begins");
        for piece in bytes.chunks(777_777) {
            writer.write(piece).await.expect("writes");
        }
        assert_eq!(writer.size(), whole);
        let expected = writer.finish(Some(digest)).await.expect("is stored");
        assert_eq!((expected.digest, expected.size), (digest, whole));

        // The same again, in the other ways: copies of their own.
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(&bytes).expect("writes");
        file.rewind().expect("rewinds");
        for other in [blobs.put(bytes.clone()).await, blobs.put_file(file).await] {
            let other = other.expect("is stored");
            assert_eq!((other.digest, other.size), (digest, whole));
            assert_ne!(other.copy, expected.copy);
            assert_eq!(blobs.read(other.blob(), whole).await.expect("is read"), bytes);
            blobs.delete(other.blob()).await.expect("is deleted");
        }

        assert_eq!(
            blobs.read(expected.blob(), expected.size).await.expect("is read"),
            bytes
        );
        let pieces: Vec<Bytes> = blobs
            .stream(expected.blob())
            .await
            .expect("is there")
            .try_collect()
            .await
            .expect("is whole");
        assert_eq!(pieces.concat(), bytes);
        if size > 0 {
            let refused = blobs.read(expected.blob(), expected.size - 1).await;
            assert!(matches!(refused, Err(BlobError::TooLarge { .. })), "{refused:?}");
        }

        let target = root.join("fetched");
        blobs.fetch(expected.blob(), &target).await.expect("is fetched");
        assert_eq!(fs::read(&target).expect("is there"), bytes);

        blobs.delete(expected.blob()).await.expect("is deleted");
        blobs.delete(expected.blob()).await.expect("is gone already");
        assert!(
            matches!(blobs.read(expected.blob(), 1).await, Err(BlobError::NotFound)),
            "{size}"
        );
        assert!(
            matches!(blobs.fetch(expected.blob(), &target).await, Err(BlobError::NotFound)),
            "{size}"
        );
        assert_eq!(fs::read(&target).expect("is untouched"), bytes);
    }
    let mut writer = blobs.writer().await.expect("begins");
    writer.write(b"other").await.expect("writes");
    let refused = writer
        .finish(Some(Digest::of(b"promised")))
        .await
        .expect_err("is refused");
    assert!(matches!(&refused, BlobError::Mismatch { expected, .. } if *expected == Digest::of(b"promised")));
    for digest in [Digest::of(b"promised"), Digest::of(b"other")] {
        assert!(matches!(blobs.read(absent(digest), 10).await, Err(BlobError::NotFound)));
    }
    expect_no_scratch(root);
}

#[tokio::test]
async fn a_folder_keeps_its_promises() {
    let (root, blobs) = local();
    keeps_its_promises(root.path(), &blobs).await;
}

#[tokio::test]
async fn s3_keeps_its_promises() {
    if let Some((root, blobs)) = s3("promises").await {
        keeps_its_promises(root.path(), &blobs).await;
    }
}

#[tokio::test]
async fn damage_on_disk_is_noticed_and_healed() {
    type Damage = fn(&mut Vec<u8>);
    let damages: [Damage; 4] = [
        |bytes| bytes[7] ^= 1,
        |bytes| bytes.truncate(500_000),
        Vec::clear,
        |bytes| bytes.push(0),
    ];
    let (root, blobs) = local();
    let bytes = content(MIB);
    let stored = blobs.put(bytes.clone()).await.expect("is stored");
    let path = path_of(root.path(), stored.blob());
    for damage in damages {
        let mut damaged = bytes.to_vec();
        damage(&mut damaged);
        fs::write(&path, damaged).expect("is damaged");

        let max = stored.size + 1;
        assert!(matches!(
            blobs.read(stored.blob(), max).await,
            Err(BlobError::Mismatch { .. })
        ));
        let streamed: Result<Vec<Bytes>, _> = blobs.stream(stored.blob()).await.expect("begins").try_collect().await;
        assert!(matches!(streamed, Err(BlobError::Mismatch { .. })));
        let target = root.path().join("fetched");
        assert!(matches!(
            blobs.fetch(stored.blob(), &target).await,
            Err(BlobError::Mismatch { .. })
        ));
        assert!(!target.exists());
        let names: Vec<_> = fs::read_dir(root.path())
            .expect("reads")
            .map(|e| e.expect("entry").file_name())
            .collect();
        assert_eq!(names.len(), 2, "only blobs and scratch: {names:?}");

        let again = blobs.put(bytes.clone()).await.expect("is stored again");
        assert!(blobs.mend(stored.copy, again.blob()).await.expect("is mended"));
        assert!(!blobs.mend(stored.copy, again.blob()).await.expect("is whole"));
        blobs.delete(again.blob()).await.expect("is deleted");
        assert_eq!(blobs.read(stored.blob(), max).await.expect("is healed"), bytes);
    }
}

#[tokio::test]
async fn a_missing_blob_is_mended_and_nothing_is_mended_with_damage() {
    let (root, blobs) = local();
    let bytes = content(300_000);
    let stored = blobs.put(bytes.clone()).await.expect("is stored");
    let other = blobs.put(bytes.clone()).await.expect("is stored");
    blobs.delete(stored.blob()).await.expect("is deleted");
    assert!(blobs.mend(stored.copy, other.blob()).await.expect("is mended"));
    assert_eq!(blobs.read(stored.blob(), 300_000).await.expect("is read"), bytes);

    blobs.delete(stored.blob()).await.expect("is deleted");
    fs::write(path_of(root.path(), other.blob()), "damage").expect("is damaged");
    assert!(matches!(
        blobs.mend(stored.copy, other.blob()).await,
        Err(BlobError::Mismatch { .. })
    ));
    assert!(matches!(
        blobs.read(stored.blob(), 300_000).await,
        Err(BlobError::NotFound)
    ));
    expect_no_scratch(root.path());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_content_at_once_is_a_copy_each() {
    let (root, blobs) = local();
    let bytes = content(300_000);
    let puts = (0..32).map(|_| blobs.put(bytes.clone()));
    let all = futures_util::future::try_join_all(puts).await.expect("are stored");
    for stored in &all[1..] {
        blobs.delete(stored.blob()).await.expect("is deleted");
    }
    assert_eq!(blobs.read(all[0].blob(), 300_000).await.expect("is read"), bytes);
    expect_no_scratch(root.path());
}

#[tokio::test]
async fn a_reader_keeps_what_it_opened() {
    let (_root, blobs) = local();
    let bytes = content(MIB);
    let stored = blobs.put(bytes.clone()).await.expect("is stored");
    let pieces = blobs.stream(stored.blob()).await.expect("begins");
    blobs.delete(stored.blob()).await.expect("is deleted");
    let pieces: Vec<Bytes> = pieces.try_collect().await.expect("is whole");
    assert_eq!(pieces.concat(), bytes);
}

#[tokio::test]
async fn what_a_killed_process_left_is_swept_and_what_lives_is_not() {
    let (root, blobs) = local();
    let mut writer = blobs.writer().await.expect("begins");
    writer.write(b"alive").await.expect("writes");
    fs::write(root.path().join("scratch/.dead.clawhand-part"), "dead").expect("is left");
    fs::write(root.path().join("scratch/other"), "not ours").expect("is there");

    let _second = in_folder(root.path());
    assert!(!root.path().join("scratch/.dead.clawhand-part").exists());
    fs::remove_file(root.path().join("scratch/other")).expect("was left alone");
    writer.finish(Some(Digest::of(b"alive"))).await.expect("is stored");

    drop(blobs.writer().await.expect("begins"));
    expect_no_scratch(root.path());
}

#[tokio::test]
async fn scratch_on_another_file_system() {
    let elsewhere = Path::new("/dev/shm");
    if !elsewhere.is_dir() {
        return eprintln!("left out: there is no /dev/shm, so scratch on another file system is not tested");
    }
    let root = tempfile::tempdir().expect("a folder");
    let scratch = tempfile::tempdir_in(elsewhere).expect("a folder");
    let url = format!("file://{}", root.path().join("blobs").display());
    let blobs = Blobs::open(&settings(url, scratch.path().to_owned())).expect("opens");
    let stored = blobs.put(content(MIB)).await.expect("is stored");
    assert_eq!(
        blobs.read(stored.blob(), stored.size).await.expect("is read"),
        content(MIB)
    );
    assert_eq!(fs::read_dir(scratch.path()).expect("reads").count(), 0);
}

/// A file system of one MiB; unmounted when dropped.
struct Small(TempDir);

impl Small {
    fn mount() -> Option<Self> {
        let folder = tempfile::tempdir().expect("a folder");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=1m", "none"])
            .arg(folder.path())
            .output()
            .is_ok_and(|output| output.status.success());
        mounted.then_some(Self(folder))
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.path()).status();
    }
}

#[tokio::test]
async fn a_full_disk_is_told_and_loses_nothing() {
    let Some(small) = Small::mount() else {
        return eprintln!("left out: can't mount a tmpfs, so a full disk is not tested");
    };
    let root = small.0.path();
    let blobs = in_folder(root);
    let kept = blobs.put(content(200_000)).await.expect("fits");

    let full = blobs.put(content(2 * MIB)).await.expect_err("is full");
    assert!(
        matches!(&full, BlobError::Full(text) if text.contains(root.to_str().expect("text"))),
        "{full:?}"
    );
    let mut writer = blobs.writer().await.expect("begins");
    let mut failed = false;
    for _ in 0..64 {
        failed |= writer.write(&[1; 64 * 1024]).await.is_err();
    }
    let error = writer.finish(None).await.expect_err("can't be finished");
    assert!(failed || matches!(error, BlobError::Full(_)), "{error:?}");
    let file = tempfile::tempfile().expect("a file");
    file.set_len(2 * MIB as u64).expect("is made");
    assert!(matches!(blobs.put_file(file).await, Err(BlobError::Full(_))));
    let target = root.join("fetched");
    fs::write(root.join("filler"), vec![1; 700_000]).expect("fits");
    assert!(matches!(
        blobs.fetch(kept.blob(), &target).await,
        Err(BlobError::Full(_))
    ));

    assert!(!target.exists());
    expect_no_scratch(root);
    assert_eq!(
        blobs.read(kept.blob(), kept.size).await.expect("is read"),
        content(200_000)
    );
}

/// Writes 64 MiB and reads them again, in a process of its own so that only this is measured.
#[tokio::test]
#[ignore = "run by large_blobs_take_little_memory"]
async fn large_blob_in_a_process_of_its_own() {
    let store = std::env::var_os("CLAWHAND_TEST_BLOBS_IN").expect("is set");
    let opened = if store == "s3" {
        s3("large").await
    } else {
        Some(local())
    };
    let Some((root, blobs)) = opened else { return };
    blobs.put(content(MIB)).await.expect("warms up");
    let before = peak_kib();
    let mut writer = blobs.writer().await.expect("begins");
    for n in (0..=255).cycle().take(64 * 16) {
        writer.write(&vec![n; 64 * 1024]).await.expect("writes");
    }
    let stored = writer.finish(None).await.expect("is stored");
    let mut pieces = blobs.stream(stored.blob()).await.expect("begins");
    let mut size = 0;
    while let Some(piece) = pieces.try_next().await.expect("is whole") {
        size += piece.len() as u64;
    }
    assert_eq!(size, 64 * MIB as u64);
    expect_no_scratch(root.path());
    println!("grew by {} KiB", peak_kib() - before);
}

fn peak_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("is there");
    let line = status
        .lines()
        .find(|line| line.starts_with("VmHWM:"))
        .expect("is there");
    line.split_whitespace()
        .nth(1)
        .and_then(|kib| kib.parse().ok())
        .expect("a number")
}

#[test]
fn large_blobs_take_little_memory() {
    for (store, max_kib) in [("folder", 12 * 1024), ("s3", 48 * 1024)] {
        let output = Command::new(std::env::current_exe().expect("is known"))
            .args([
                "--exact",
                "blobs::large_blob_in_a_process_of_its_own",
                "--ignored",
                "--nocapture",
            ])
            .env("CLAWHAND_TEST_BLOBS_IN", store)
            .output()
            .expect("runs");
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success(),
            "{store}: {text} {}",
            String::from_utf8_lossy(&output.stderr)
        );
        let Some(grew) = text.split("grew by ").nth(1).and_then(|rest| rest.split(' ').next()) else {
            assert_eq!(store, "s3", "nothing was measured: {text}");
            continue;
        };
        let grew: u64 = grew.parse().expect("a number");
        assert!(grew < max_kib, "{store}: grew by {grew} KiB");
    }
}

/// A server that answers every connection the same way.
fn answering(answer: &'static [u8]) -> (String, std::thread::JoinHandle<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
    let address = listener.local_addr().expect("is bound");
    let serving = std::thread::spawn(move || {
        let (mut connection, _) = listener.accept().expect("is called");
        let mut request = vec![0; 16 * 1024];
        let size = connection.read(&mut request).expect("reads");
        connection.write_all(answer).expect("answers");
        request.truncate(size);
        request
    });
    (address.to_string(), serving)
}

#[tokio::test]
async fn wrong_credentials_are_told_without_showing_them() {
    let answer = b"HTTP/1.1 403 Forbidden\r\nContent-Type: application/xml\r\nContent-Length: 55\r\n\
        Connection: close\r\n\r\n<Error><Code>InvalidAccessKeyId</Code></Error>         ";
    let (address, serving) = answering(answer);
    let root = tempfile::tempdir().expect("a folder");
    let settings = s3_settings(&format!("http://{address}"), "bucket", root.path());
    let blobs = Blobs::open(&settings).expect("opens");
    let error = blobs.read(absent(Digest::of(b"x")), 1).await.expect_err("is refused");
    assert!(
        matches!(&error, BlobError::Unavailable(text) if text.contains("credentials")),
        "{error:?}"
    );
    let request = String::from_utf8(serving.join().expect("served")).expect("text");
    assert!(request.contains("/bucket/some/prefix/sha256/2d/711642"), "{request}");
    assert!(
        request.to_lowercase().contains("authorization: aws4-hmac-sha256"),
        "{request}"
    );
    for shown in [format!("{error:?}"), format!("{settings:?}"), format!("{blobs:?}")] {
        assert!(!shown.contains("key-that-is-not-shown"), "{shown}");
    }
}

#[tokio::test]
async fn a_service_that_is_gone_is_unavailable() {
    let gone = TcpListener::bind("127.0.0.1:0")
        .expect("binds")
        .local_addr()
        .expect("is bound");
    assert!(TcpStream::connect(gone).is_err());
    let root = tempfile::tempdir().expect("a folder");
    let blobs = Blobs::open(&s3_settings(&format!("http://{gone}"), "bucket", root.path())).expect("opens");
    for error in [
        blobs.put(Bytes::from_static(b"x")).await.expect_err("fails"),
        blobs.put(content(9 * MIB)).await.expect_err("fails"),
        blobs.read(absent(Digest::of(b"x")), 1).await.expect_err("fails"),
        blobs.delete(absent(Digest::of(b"x"))).await.expect_err("fails"),
    ] {
        assert!(
            matches!(&error, BlobError::Unavailable(text) if text.contains("s3://bucket")),
            "{error:?}"
        );
    }
    expect_no_scratch(root.path());
}

#[tokio::test]
async fn https_speaks_tls() {
    // Not a certificate authority's server; it is enough to see the client begin a handshake and refuse what follows.
    let (address, serving) = answering(b"\x15\x03\x03\x00\x02\x02\x28");
    let root = tempfile::tempdir().expect("a folder");
    let mut settings = s3_settings(&format!("https://{address}"), "bucket", root.path());
    settings.aws.remove("AWS_ALLOW_HTTP");
    let blobs = Blobs::open(&settings).expect("opens");
    assert!(matches!(
        blobs.read(absent(Digest::of(b"x")), 1).await,
        Err(BlobError::Unavailable(_))
    ));
    let hello = serving.join().expect("served");
    assert_eq!(&hello[..2], b"\x16\x03", "a TLS handshake");
}

#[tokio::test]
async fn a_bucket_that_is_missing_and_urls_that_are_none() {
    let root = tempfile::tempdir().expect("a folder");
    let scratch = root.path().join("scratch");
    for url in ["", "folder", "file://relative", "s3://", "s3:///prefix", "ftp://x/y"] {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let error = Blobs::open(&settings(url.to_owned(), scratch.clone())).expect_err(url);
        assert!(
            matches!(&error, BlobError::Unavailable(text) if text.contains(url)),
            "{error:?}"
        );
    }
    let file = root.path().join("file");
    fs::write(&file, "in the way").expect("is written");
    let below = settings(format!("file://{}/blobs", file.display()), scratch);
    assert!(matches!(Blobs::open(&below), Err(BlobError::Unavailable(text)) if text.contains("file/blobs")));

    if let Some((root, _)) = s3("present").await {
        let endpoint = std::env::var_os("CLAWHAND_TEST_S3").expect("is set");
        let endpoint = endpoint.to_str().expect("text").trim_end_matches('/');
        let absent = Blobs::open(&s3_settings(endpoint, "absent", root.path())).expect("opens");
        assert!(absent.put(Bytes::from_static(b"x")).await.is_err());
    }
}
