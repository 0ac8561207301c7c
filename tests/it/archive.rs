//! Archives from callers: what is refused, and what comes out of the others.

mod build;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use clawhand::domain::Listing;
use clawhand::executors::archive::{ArchiveError, ArchiveKind, ArchiveLimits, list, unpack};

use build::{Tar, ZipBytes, gzip};

fn file_of(bytes: &[u8]) -> File {
    let mut file = tempfile::tempfile().expect("a file");
    file.write_all(bytes).expect("writes");
    file
}

fn listed(bytes: &[u8], kind: ArchiveKind) -> Result<Listing, ArchiveError> {
    list(file_of(bytes), kind, &ArchiveLimits::default())
}

fn unpacked(bytes: &[u8], kind: ArchiveKind, dest: &Path) -> Result<(), ArchiveError> {
    unpack(file_of(bytes), kind, dest, &ArchiveLimits::default())
}

/// Everything below a folder, without following links: what it is and what is in it.
fn tree(root: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut todo = vec![root.to_owned()];
    while let Some(folder) = todo.pop() {
        for entry in fs::read_dir(&folder)
            .expect("reads")
            .map(|entry| entry.expect("an entry").path())
        {
            let name = entry
                .strip_prefix(root)
                .expect("below")
                .to_str()
                .expect("text")
                .to_owned();
            let about = fs::symlink_metadata(&entry).expect("is there");
            let mode = about.permissions().mode() & 0o7777;
            if about.is_symlink() {
                found.insert(name, format!("-> {}", fs::read_link(&entry).expect("a link").display()));
            } else if about.is_dir() {
                found.insert(name, format!("{mode:o}/"));
                todo.push(entry);
            } else {
                found.insert(name, format!("{mode:o} {}", fs::read_to_string(&entry).expect("text")));
            }
        }
    }
    found
}

fn expect_tree(root: &Path, expected: &[(&str, &str)]) {
    let expected: BTreeMap<String, String> = expected
        .iter()
        .map(|(name, what)| ((*name).to_owned(), (*what).to_owned()))
        .collect();
    assert_eq!(tree(root), expected);
}

/// What a refusal says, whether listed or unpacked, and that nothing was written.
fn refusal(bytes: &[u8], kind: ArchiveKind) -> String {
    let outer = tempfile::tempdir().expect("a folder");
    let dest = outer.path().join("dest");
    let listing = listed(bytes, kind).expect_err("listing is refused").to_string();
    let unpacking = unpacked(bytes, kind, &dest)
        .expect_err("unpacking is refused")
        .to_string();
    assert_eq!(listing, unpacking);
    expect_tree(outer.path(), &[]);
    listing
}

#[test]
fn hostile_tars() {
    let file = |name: &str| Tar::new().file(name, b"x");
    let cases: Vec<(&str, Tar, &str)> = vec![
        ("absolute", file("/etc/passwd"), "absolute"),
        ("up", file("../x"), "leads out"),
        ("up inside", file("a/../../x"), "leads out"),
        ("only up", file(".."), "leads out"),
        ("windows up", file("..\\..\\x"), "backslash"),
        ("windows drive", file("C:/x"), "absolute"),
        ("control character", file("a\u{1b}[2Jb"), "control"),
        ("not UTF-8", Tar::new().raw_file(b"caf\xe9", b"x"), "not UTF-8"),
        ("long name", file(&"n".repeat(300)), "too long"),
        ("deep path", file(&"d/".repeat(600)), "too long"),
        (
            "character device",
            Tar::new().special("d", tar::EntryType::Char),
            "no file",
        ),
        (
            "block device",
            Tar::new().special("d", tar::EntryType::Block),
            "no file",
        ),
        ("fifo", Tar::new().special("d", tar::EntryType::Fifo), "no file"),
        (
            "unknown type",
            Tar::new().special("d", tar::EntryType::new(b'Z')),
            "no file",
        ),
        (
            "huge declared size",
            Tar::new().declared("big", 1 << 50),
            "expands to more",
        ),
        (
            "declared more than there is",
            Tar::new().declared("big", 1 << 20),
            "broken",
        ),
        ("empty", Tar::new(), "no files"),
        ("only folders", Tar::new().folder("a").folder("a/b"), "no files"),
        ("a name of megabytes", file(&"n/".repeat(2_000_000)), "too large"),
    ];
    expect_refused(cases);
}

#[test]
fn hostile_links_in_tars() {
    let link = |name: &str, to: &str| Tar::new().file("a/f", b"x").file("b", b"y").symlink(name, to);
    let cases: Vec<(&str, Tar, &str)> = vec![
        ("link absolute", link("l", "/etc"), "leads out"),
        ("link up", link("l", ".."), "leads out"),
        ("link up later", link("a/l", "../../x"), "leads out"),
        ("link through what is missing", link("l", "missing/../b"), "leads out"),
        ("link to itself", link("l", "l"), "leads out"),
        ("link to nothing", link("l", ""), "leads out"),
        (
            "link chain out",
            link("l", ".").symlink("m", "l/l/a/../../.."),
            "leads out",
        ),
        (
            "link chain that looks inside",
            link("d", "a").symlink("m", "d/../../x"),
            "leads out",
        ),
        ("write through a link", link("l", "a").file("l/x", b"x"), "no folder"),
        (
            "write through a link out",
            Tar::new().symlink("l", "/tmp").file("l/x", b"x"),
            "no folder",
        ),
        ("a file where a link was", link("l", "b").file("l", b"x"), "twice"),
        ("a link where a file was", link("b", "a"), "twice"),
        ("a folder where a link was", link("l", "a").folder("l"), "twice"),
        (
            "below a file",
            Tar::new().file("b", b"y").file("b/c", b"x"),
            "no folder",
        ),
        (
            "hard link out",
            Tar::new().file("b", b"y").hard_link("h", "../x"),
            "leads out",
        ),
        (
            "hard link absolute",
            Tar::new().file("b", b"y").hard_link("h", "/etc/passwd"),
            "absolute",
        ),
        (
            "hard link to nothing",
            Tar::new().file("b", b"y").hard_link("h", "c"),
            "no file",
        ),
        ("hard link to a link", link("l", "b").hard_link("h", "l"), "no file"),
        ("hard link to a folder", link("l", "b").hard_link("h", "a"), "no file"),
        (
            "hard link to itself",
            Tar::new().file("b", b"y").hard_link("h", "h"),
            "no file",
        ),
    ];
    expect_refused(cases);
}

fn expect_refused(cases: Vec<(&str, Tar, &str)>) {
    for (what, tar, why) in cases {
        let bytes = tar.bytes();
        for (kind, bytes) in [(ArchiveKind::Tar, bytes.clone()), (ArchiveKind::TarGz, gzip(&bytes))] {
            let said = refusal(&bytes, kind);
            assert!(said.contains(why), "{what}, {kind:?}: {said}");
        }
    }
}

#[test]
fn hostile_zips() {
    let file = |name: &[u8]| ZipBytes::new().entry(name, 0o100_644, b"x");
    let link = |name: &str, to: &str| file(b"a/f").entry(name.as_bytes(), 0o120_777, to.as_bytes());
    let cases: Vec<(&str, ZipBytes, &str)> = vec![
        ("absolute", file(b"/etc/passwd"), "absolute"),
        ("up", file(b"a/../../x"), "leads out"),
        ("windows up", file(b"..\\..\\x"), "leads out"),
        ("windows drive", file(b"C:\\x"), "absolute"),
        ("not UTF-8", file(b"caf\xe9"), "not UTF-8"),
        ("null", file(b"a\0b"), "control"),
        ("link out", link("l", "../x"), "leads out"),
        ("link absolute", link("l", "/etc"), "leads out"),
        (
            "write through a link",
            link("l", "a").entry(b"l/x", 0o100_644, b"x"),
            "no folder",
        ),
        ("long link", link("l", &"a/".repeat(4000)), "too long"),
        ("fifo", ZipBytes::new().entry(b"d", 0o010_644, b""), "no file"),
        ("device", ZipBytes::new().entry(b"d", 0o020_644, b""), "no file"),
        (
            "declares less",
            ZipBytes::new().deflated(b"bomb", &[0; 1 << 20], 10),
            "broken",
        ),
        (
            "declares more",
            ZipBytes::new().deflated(b"bomb", &[0; 1 << 10], 1 << 20),
            "broken",
        ),
        (
            "declares far too much",
            ZipBytes::new().deflated(b"bomb", b"x", u32::MAX),
            "broken",
        ),
        ("empty", ZipBytes::new(), "no files"),
        (
            "only macOS",
            file(b"__MACOSX/._x").entry(b"a/.DS_Store", 0o100_644, b"x"),
            "no files",
        ),
    ];
    for (what, zip, why) in cases {
        let said = refusal(&zip.bytes(), ArchiveKind::Zip);
        assert!(said.contains(why), "{what}: {said}");
    }
}

#[test]
fn what_is_no_archive() {
    let whole = gzip(&Tar::new().file("a", &[7; 100_000]).bytes());
    let mut altered = whole.clone();
    let last = altered.len() - 5;
    altered[last] ^= 1;
    let cases: Vec<(&str, Vec<u8>, Vec<ArchiveKind>)> = vec![
        (
            "nothing",
            vec![],
            vec![ArchiveKind::Tar, ArchiveKind::TarGz, ArchiveKind::Zip],
        ),
        (
            "text",
            b"hello ".repeat(500),
            vec![ArchiveKind::Tar, ArchiveKind::TarGz, ArchiveKind::Zip],
        ),
        (
            "zeros",
            vec![0; 4096],
            vec![ArchiveKind::Tar, ArchiveKind::TarGz, ArchiveKind::Zip],
        ),
        (
            "a gz cut off",
            whole[..whole.len() / 2].to_vec(),
            vec![ArchiveKind::TarGz],
        ),
        (
            "a gz cut off in its last bytes",
            whole[..whole.len() - 3].to_vec(),
            vec![ArchiveKind::TarGz],
        ),
        ("a gz with a wrong checksum", altered, vec![ArchiveKind::TarGz]),
        ("a gz as tar", whole, vec![ArchiveKind::Tar, ArchiveKind::Zip]),
    ];
    for (what, bytes, kinds) in cases {
        for kind in kinds {
            let said = refusal(&bytes, kind);
            assert!(said.starts_with("broken archive: "), "{what}, {kind:?}: {said}");
        }
    }
}

#[test]
fn bombs_end_at_the_limit() {
    let limits = ArchiveLimits {
        entries: 1000,
        bytes: 1 << 20,
    };
    let zeros = vec![0; (1 << 20) + 1];
    let many_small = (0..200).fold(ZipBytes::new(), |zip, n| {
        zip.deflated(format!("f{n}").as_bytes(), &zeros[..8192], 8192)
    });
    let overlapping = ZipBytes::new().deflated(b"z", &zeros[..700_000], 700_000).twice();
    let many_entries = (0..1001).fold(Tar::new(), |tar, n| tar.file(&format!("f{n}"), b""));
    let many_folders = Tar::new()
        .file(&"d/".repeat(500), b"")
        .file(&format!("{}x", "e/".repeat(500)), b"");
    let cases = [
        (
            "gz",
            ArchiveKind::TarGz,
            gzip(&Tar::new().file("zeros", &zeros).bytes()),
            "expands to more",
        ),
        (
            "zip",
            ArchiveKind::Zip,
            ZipBytes::new().deflated(b"z", &zeros, (1 << 20) + 1).bytes(),
            "expands to more",
        ),
        (
            "zip of overlapping ones",
            ArchiveKind::Zip,
            overlapping.bytes(),
            "expands to more",
        ),
        (
            "zip of small ones",
            ArchiveKind::Zip,
            many_small.bytes(),
            "expands to more",
        ),
        ("entries", ArchiveKind::Tar, many_entries.bytes(), "1000 entries"),
        ("folders", ArchiveKind::Tar, many_folders.bytes(), "1000 entries"),
        (
            "a name",
            ArchiveKind::TarGz,
            gzip(&Tar::new().file(&"n".repeat(50 << 20), b"").bytes()),
            "headers",
        ),
    ];
    for (what, kind, bytes, why) in cases {
        let said = list(file_of(&bytes), kind, &limits).expect_err(what).to_string();
        assert!(said.starts_with("unsafe") && said.contains(why), "{what}: {said}");
    }
}

#[test]
fn two_hundred_thousand_entries() {
    let mut tar = Tar::new();
    let mut zip = ZipBytes::new();
    for n in 0..200_000 {
        tar = tar.file(&format!("f{n}"), b"");
        zip = zip.entry(format!("f{n}").as_bytes(), 0o100_644, b"");
    }
    for (kind, bytes) in [
        (ArchiveKind::TarGz, gzip(&tar.bytes())),
        (ArchiveKind::Zip, zip.bytes()),
    ] {
        let said = listed(&bytes, kind).expect_err("too many").to_string();
        assert!(
            said.starts_with("unsafe") && said.contains("entries"),
            "{kind:?}: {said}"
        );
    }
}

#[test]
fn an_archive_in_an_archive_stays_one() {
    let inner = ZipBytes::new().deflated(b"z", &[0; 1 << 20], 1 << 20).bytes();
    let outer = ZipBytes::new().entry(b"inner.zip", 0o100_644, &inner);
    let listing = listed(&outer.bytes(), ArchiveKind::Zip).expect("is listed");
    assert_eq!(
        listing.files,
        BTreeMap::from([("inner.zip".to_owned(), inner.len() as u64)])
    );
}

fn project() -> Tar {
    Tar::new()
        .pax_global(b"18 comment=abcdef\n")
        .folder("./")
        .folder("./proj/")
        .with_mode(0o6777)
        .file("./proj/bin/run", b"#!/bin/sh\n")
        .with_mode(0o000)
        .file("proj/src/lib.py", b"old")
        .with_mode(0o664)
        .file("proj/src/lib.py", b"new one")
        .file("proj/pyproject.toml", b"[project]\n")
        .symlink("proj/setup.cfg", "conf/setup.cfg")
        .file("proj/conf/setup.cfg", b"[tool]\n")
        .hard_link("proj/again", "proj/src/lib.py")
        .symlink("proj/src/up", "../conf")
        .symlink("proj/dangling", "conf/later")
        .file("__MACOSX/._x", b"x")
        .file("proj/.DS_Store", b"x")
}

#[test]
fn a_project_is_listed() {
    let listing = listed(&gzip(&project().bytes()), ArchiveKind::TarGz).expect("is listed");
    let files: Vec<(&str, u64)> = listing
        .files
        .iter()
        .map(|(name, size)| (name.as_str(), *size))
        .collect();
    let expected = [
        ("again", 7),
        ("bin/run", 10),
        ("conf/setup.cfg", 7),
        ("pyproject.toml", 10),
        ("setup.cfg", 7),
        ("src/lib.py", 7),
    ];
    assert_eq!(files, expected);
    let manifests: Vec<(&str, &str)> = listing
        .manifests
        .iter()
        .map(|(a, b)| (a.as_str(), b.as_str()))
        .collect();
    let expected = [
        ("conf/setup.cfg", "[tool]\n"),
        ("pyproject.toml", "[project]\n"),
        ("setup.cfg", "[tool]\n"),
    ];
    assert_eq!(manifests, expected);
}

const PROJECT: [(&str, &str); 11] = [
    ("again", "644 new one"),
    ("bin", "755/"),
    ("bin/run", "755 #!/bin/sh\n"),
    ("conf", "755/"),
    ("conf/setup.cfg", "644 [tool]\n"),
    ("dangling", "-> conf/later"),
    ("pyproject.toml", "644 [project]\n"),
    ("setup.cfg", "-> conf/setup.cfg"),
    ("src", "755/"),
    ("src/lib.py", "644 new one"),
    ("src/up", "-> ../conf"),
];

#[test]
fn a_project_is_unpacked_and_unpacked_again() {
    let outer = tempfile::tempdir().expect("a folder");
    let dest = outer.path().join("made/dest");
    for _ in 0..2 {
        unpacked(&gzip(&project().bytes()), ArchiveKind::TarGz, &dest).expect("is unpacked");
        expect_tree(&dest, &PROJECT);
    }
}

#[test]
fn zips_come_out_like_tars() {
    let dest = tempfile::tempdir().expect("a folder");
    let zip = ZipBytes::new()
        .entry(b"proj\\", 0o040_755, b"")
        .entry(b"proj\\bin\\run", 0o104_755, b"#!/bin/sh\n")
        .deflated(b"proj/src/a.py", b"print()\n", 8)
        .entry(b"proj/link", 0o120_777, b"src/a.py")
        .bytes();
    unpacked(&zip, ArchiveKind::Zip, dest.path()).expect("is unpacked");
    let expected = [
        ("bin", "755/"),
        ("bin/run", "755 #!/bin/sh\n"),
        ("link", "-> src/a.py"),
        ("src", "755/"),
        ("src/a.py", "644 print()\n"),
    ];
    expect_tree(dest.path(), &expected);
    let listing = listed(&zip, ArchiveKind::Zip).expect("is listed");
    assert_eq!(
        listing.files.keys().collect::<Vec<_>>(),
        ["bin/run", "link", "src/a.py"]
    );
}

#[test]
fn a_single_top_folder_is_left_out_and_nothing_else() {
    let cases: [(&[&str], &[&str]); 6] = [
        (&["p/a", "p/b/c"], &["a", "b/c"]),
        (&["./p/a"], &["a"]),
        (&["p/q/a"], &["q/a"]),
        (&["p/a", "q/b"], &["p/a", "q/b"]),
        (&["p/a", "b"], &["b", "p/a"]),
        (&["p"], &["p"]),
    ];
    for (names, expected) in cases {
        let tar = names.iter().fold(Tar::new(), |tar, name| tar.file(name, b"x")).bytes();
        let dest = tempfile::tempdir().expect("a folder");
        unpacked(&tar, ArchiveKind::Tar, dest.path()).expect("is unpacked");
        let listing = listed(&tar, ArchiveKind::Tar).expect("is listed");
        assert_eq!(listing.files.keys().collect::<Vec<_>>(), expected, "{names:?}");
        for name in expected {
            assert!(dest.path().join(name).is_file(), "{name} of {names:?}");
        }
    }
}

#[test]
fn a_link_that_stays_inside_only_with_the_top_folder_is_refused() {
    let tar = Tar::new().file("p/a", b"x").symlink("p/l", "../p/a");
    assert!(refusal(&tar.bytes(), ArchiveKind::Tar).contains("leads out"));
}

#[test]
fn links_that_lie_in_the_folder_already_are_not_followed() {
    let outer = tempfile::tempdir().expect("a folder");
    let (dest, victim) = (outer.path().join("dest"), outer.path().join("victim"));
    fs::create_dir(&dest).expect("is made");
    fs::create_dir(&victim).expect("is made");
    fs::write(victim.join("f"), "kept").expect("is written");
    symlink(&victim, dest.join("d")).expect("is linked");
    symlink(victim.join("f"), dest.join("f")).expect("is linked");

    let through = Tar::new().file("d/f", b"evil").file("x", b"x").bytes();
    let said = unpacked(&through, ArchiveKind::Tar, &dest)
        .expect_err("is refused")
        .to_string();
    assert!(said.contains("in the way"), "{said}");
    let instead = Tar::new()
        .file("f", b"mine")
        .file("x", b"x")
        .hard_link("h", "f")
        .bytes();
    unpacked(&instead, ArchiveKind::Tar, &dest).expect("is unpacked");
    assert_eq!(fs::read_to_string(victim.join("f")).expect("is there"), "kept");
    assert_eq!(fs::read_to_string(dest.join("f")).expect("is there"), "mine");
    assert!(fs::symlink_metadata(dest.join("f")).expect("is there").is_file());

    let folder = Tar::new().file("f/below", b"x").file("y", b"y").bytes();
    assert!(unpacked(&folder, ArchiveKind::Tar, &dest).is_err());
    fs::remove_file(dest.join("x")).expect("is removed");
    fs::create_dir(dest.join("x")).expect("is made");
    assert!(
        unpacked(&instead, ArchiveKind::Tar, &dest).is_err(),
        "a folder is never replaced"
    );
}

#[test]
fn only_short_manifests_in_utf_8_are_read() {
    let large = vec![b'#'; 256 * 1024 + 1];
    let tar = Tar::new()
        .file("a/setup.py", &large)
        .file("b/setup.py", b"\xff")
        .file("c/setup.py", &large[1..])
        .file("d/Makefile", b"old")
        .file("d/Makefile", &large)
        .file("e/readme", b"no manifest")
        .bytes();
    let listing = listed(&tar, ArchiveKind::Tar).expect("is listed");
    assert_eq!(listing.files.len(), 5);
    assert_eq!(listing.manifests.keys().collect::<Vec<_>>(), ["c/setup.py"]);

    // All together they are bounded; the deepest go first.
    let many = (0..32).fold(Tar::new().file("setup.py", b"root"), |tar, n| {
        tar.file(&format!("deep/{n}/setup.py"), &large[1..])
    });
    let listing = listed(&many.file("z", b"").bytes(), ArchiveKind::Tar).expect("is listed");
    assert!(listing.manifests.contains_key("setup.py"));
    assert!(listing.manifests.values().map(String::len).sum::<usize>() <= 4 << 20);
}

#[test]
fn long_names_of_both_kinds() {
    let long = |name: &str| format!("{}/{name}", "folder/".repeat(30));
    let tar = Tar::new()
        .pax_file(&long("pax"), b"x")
        .file(&long("gnu"), b"y")
        .file("z", b"z")
        .bytes();
    let listing = listed(&tar, ArchiveKind::Tar).expect("is listed");
    let expected = [
        long("gnu").replace("//", "/"),
        long("pax").replace("//", "/"),
        "z".to_owned(),
    ];
    assert_eq!(listing.files.into_keys().collect::<Vec<_>>(), expected);
    assert!(refusal(&Tar::new().pax_file("a/../../x", b"x").bytes(), ArchiveKind::Tar).contains("leads out"));
}

#[test]
fn kinds_by_name() {
    for (name, kind) in [
        ("a.tar.gz", Some(ArchiveKind::TarGz)),
        ("A.TGZ", Some(ArchiveKind::TarGz)),
        ("a.tar", Some(ArchiveKind::Tar)),
        ("a.Zip", Some(ArchiveKind::Zip)),
        ("a.gz", None),
        ("tar", None),
    ] {
        assert_eq!(ArchiveKind::of_name(name), kind, "{name}");
        assert_eq!(clawhand::domain::Artifact::is_archive(name), kind.is_some(), "{name}");
    }
}
