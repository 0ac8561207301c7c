//! What stories compare: logs line by line, results without what differs from one time to the next.

use serde_json::Value;

/// The log is whole: each line once, in order.
pub fn assert_log(log: &str, expected: &str) {
    let differs = log
        .lines()
        .zip(expected.lines())
        .position(|(got, wanted)| got != wanted);
    assert!(
        log == expected,
        "the log has {} lines instead of {}, and differs from line {differs:?} on: {:?}",
        log.lines().count(),
        expected.lines().count(),
        differs.map(|line| log.lines().skip(line).take(3).collect::<Vec<_>>())
    );
}

/// Takes ids, times and links out of a result, and the fields that are named.
pub fn settle(value: &mut Value, varying: &[&str]) {
    const ALWAYS: [&str; 6] = [
        "execution_id",
        "task_id",
        "duration_ms",
        "uri",
        "download_url",
        "download_expires_at",
    ];
    match value {
        Value::Object(fields) => {
            fields.retain(|name, _| {
                !name.ends_with("_at") && !ALWAYS.contains(&name.as_str()) && !varying.contains(&name.as_str())
            });
            fields.values_mut().for_each(|value| settle(value, varying));
        }
        Value::Array(items) => items.iter_mut().for_each(|value| settle(value, varying)),
        _ => {}
    }
}

/// An archive of small files that takes a while to lay out.
pub fn many_files(count: usize) -> Vec<u8> {
    let gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    let mut archive = tar::Builder::new(gz);
    for number in 0..count {
        let mut header = tar::Header::new_gnu();
        header.set_size(2);
        header.set_mode(0o644);
        header.set_cksum();
        let name = format!("files/{}/{number}", number % 100);
        archive.append_data(&mut header, name, &b"x\n"[..]).expect("added");
    }
    archive.into_inner().expect("written").finish().expect("packed")
}
