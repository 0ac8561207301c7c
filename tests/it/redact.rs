//! What leaves clawhand holds no secret and no private text, and is otherwise what came in.

use clawhand::domain::{Code, Refusal};
use clawhand::redact::{Clean, Rules, Scrubber};
use serde_json::json;

const PEM: &str = "-----BEGIN KEY-----\nMIIEvQIBADANBgkq\n  hkiG9w0BAQEFAASC\nabc\n-----END KEY-----\n";

fn rules() -> Rules {
    Rules::builder()
        .secret("hunter22")
        .secret("hunter22-extended")
        .secret(PEM)
        .secret("abc")
        .secret("  \n  ")
        .private("/srv/data/runs/exe_1", "/workspace")
        .private("/srv/data", "/data")
        .private("build-host-7", "host")
        .private("hunter22", "never shown")
        .build()
}

#[test]
fn texts() {
    let cases = [
        ("", ""),
        ("nothing here, not even abc", "nothing here, not even abc"),
        ("pw=hunter22;", "pw=[secret];"),
        ("xhunter22x hunter2", "x[secret]x hunter2"),
        ("hunter22-extended hunter22-ext", "[secret] [secret]-ext"),
        ("hunter22hunter22", "[secret][secret]"),
        ("cd /srv/data/runs/exe_1/src", "cd /workspace/src"),
        ("-I/srv/data/runs/exe_1 ok", "-I/workspace ok"),
        ("/srv/data/runs/exe_12", "/data/runs/exe_12"),
        ("/srv/database /srv/data-old", "/srv/database /srv/data-old"),
        ("on build-host-7.", "on host."),
        ("on rebuild-host-7, build-host-70", "on rebuild-host-7, build-host-70"),
        ("/srv/data/runs/exe_1hunter22", "/data/runs/exe_1[secret]"),
        (
            "> MIIEvQIBADANBgkq\r\n> hkiG9w0BAQEFAASC\r\n> abc\r\n",
            "> [secret]\r\n> [secret]\r\n> abc\r\n",
        ),
        (PEM, "[secret]"),
        ("é hunter22 ü", "é [secret] ü"),
    ];
    for (raw, clean) in cases {
        assert_eq!(*rules().text(raw), clean, "{raw:?}");
        assert_eq!(*Rules::none().text(raw), raw);
    }
}

#[test]
fn what_overlaps_a_secret_goes_with_it() {
    let rules = Rules::builder()
        .secret("abcdXY")
        .secret("XYefgh")
        .private("/home/abcd", "/home")
        .build();
    assert_eq!(*rules.text("abcdXYefgh"), "[secret]");
    assert_eq!(*rules.text("/home/abcd!"), "/home!");
    assert_eq!(*rules.text("/home/abcdXYefgh"), "/home/[secret]");
    let inner = Rules::builder()
        .secret("s3cret")
        .private("/srv/s3cret/ws", "/workspace")
        .build();
    assert_eq!(*inner.text("ls /srv/s3cret/ws/a"), "ls [secret]/a");
}

#[test]
fn a_placeholder_never_spells_a_secret() {
    let rules = Rules::builder()
        .secret("workspace")
        .secret("secret")
        .private("/srv/ws", "/workspace")
        .build();
    assert_eq!(
        *rules.text("/srv/ws is the workspace, secret"),
        "[redacted] is the [redacted], [redacted]"
    );
}

#[test]
fn values_and_their_keys() {
    let rules = rules();
    let value = json!({
        "hunter22": ["hunter22", 1, null, true, {"deep": "on build-host-7"}],
        "plain": "plain",
    });
    let clean = rules.value(&value);
    let expected = json!({"[secret]": ["[secret]", 1, null, true, {"deep": "on host"}], "plain": "plain"});
    assert_eq!(*clean, expected);
    assert_eq!(serde_json::to_value(&clean).expect("serializes"), expected);
    assert_eq!(rules.json(value).into_inner(), expected);
}

#[test]
fn refusals() {
    let refusal = Refusal::new(Code::Internal, "build-host-7 said hunter22", "ask build-host-7");
    let clean = rules().refusal(refusal).into_inner();
    assert_eq!(clean, Refusal::new(Code::Internal, "host said [secret]", "ask host"));
}

#[test]
fn nothing_prints_the_rules() {
    assert_eq!(
        format!("{:?} {:?}", rules(), Rules::builder().secret("hunter22")),
        "Rules(..) RulesBuilder(..)"
    );
    assert_eq!(Clean::fixed("ok").into_inner(), "ok");
    assert_eq!(rules().longest(), PEM.len());
}

#[test]
fn a_line_without_anything_is_not_held_back() {
    let mut scrubber = Scrubber::new(rules(), None);
    let piece = scrubber.push(b"collected 3 items\n");
    assert_eq!(
        (piece.clean.as_slice(), piece.consumed),
        (b"collected 3 items\n".as_slice(), 18)
    );
}

#[test]
fn a_secret_in_pieces_and_a_resumed_stream() {
    let rules = rules();
    let mut scrubber = Scrubber::new(rules.clone(), None);
    let first = scrubber.push(b"a hun");
    assert_eq!((first.clean.as_slice(), first.consumed), (b"a ".as_slice(), 2));
    // The process dies here, with "hun" held. The next one reads again from byte 2.
    let mut scrubber = Scrubber::new(rules.clone(), Some(b' '));
    assert_eq!(scrubber.push(b"hunte").consumed, 0);
    let second = scrubber.push(b"r22, b");
    assert_eq!(
        (second.clean.as_slice(), second.consumed),
        (b"[secret], ".as_slice(), 10)
    );
    let last = scrubber.finish();
    assert_eq!((last.clean.as_slice(), last.consumed), (b"b".as_slice(), 1));

    // What is a whole word depends on the byte before, also across a crash.
    let mut scrubber = Scrubber::new(rules, Some(b'x'));
    assert_eq!(scrubber.push(b"build-host-7").consumed, 0);
    assert_eq!(scrubber.finish().clean, b"build-host-7");
}

#[test]
fn an_unmistakable_name_is_found_where_it_is_joined_to_others() {
    let rules = Rules::builder()
        .private("db1.corp.example", "[host]")
        .private("build-host-7", "[host]")
        .private("/srv/runs.2026", "/runs")
        .private("builders", "[user]")
        .build();
    for (text, shown) in [
        ("report-db1.corp.example.xml", "report-[host].xml"),
        ("of_build-host-7_and-more", "of_[host]_and-more"),
        ("mydb1.corp.example", "mydb1.corp.example"),
        ("build-host-71", "build-host-71"),
        ("/srv/runs.2026/x", "/runs/x"),
        ("/srv/runs.2026-old", "/srv/runs.2026-old"),
        ("the builders", "the [user]"),
        ("the-builders", "the-builders"),
    ] {
        assert_eq!(*rules.text(text), shown);
    }
    let mut scrubber = Scrubber::new(rules, Some(b'-'));
    assert_eq!(scrubber.push(b"build-host-7").consumed, 0);
    assert_eq!(scrubber.push(b"_x").clean, b"[host]_x");
}

#[test]
fn an_endless_run_is_cut_and_memory_stays_bounded() {
    let rules = Rules::builder().secret("aaaa").build();
    let mut scrubber = Scrubber::new(rules, None);
    let (mut clean, mut consumed) = (Vec::new(), 0);
    for _ in 0..64 {
        let piece = scrubber.push(&[b'a'; 16 * 1024]);
        clean.extend(piece.clean);
        consumed += piece.consumed;
    }
    assert!(consumed > (64 - 8) * 16 * 1024, "only {consumed} bytes left");
    clean.extend(scrubber.finish().clean);
    assert_eq!(clean, b"[secret]".repeat(16));
}

#[test]
fn binary_passes_unchanged() {
    let raw: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    let mut scrubber = Scrubber::new(rules(), None);
    let mut clean = Vec::new();
    for chunk in raw.chunks(777) {
        clean.extend(scrubber.push(chunk).clean);
    }
    clean.extend(scrubber.finish().clean);
    assert_eq!(clean, raw);
}
