//! The notes that a supervisor writes: lines of `key=value`, of which the last one is `end=1`. A note without that line
//! is being written, and as good as none.

use std::collections::HashMap;

use crate::executors::contract::ExitReport;

/// What a supervisor writes before the work starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StartedNote {
    /// The supervisor's process number.
    pub pid: u32,
    /// When that process started, in clock ticks since boot.
    pub start: u64,
    /// The boot of the system it runs in.
    pub boot: String,
}

impl StartedNote {
    /// Reads the note `started`.
    pub fn parse(text: &str) -> Option<Self> {
        let fields = fields(text)?;
        Some(Self {
            pid: fields.get("pid")?.parse().ok()?,
            start: fields.get("start")?.parse().ok()?,
            boot: (*fields.get("boot")?).to_owned(),
        })
    }
}

/// Reads the note `exit`.
pub fn exit_report(text: &str) -> Option<ExitReport> {
    let fields = fields(text)?;
    let number = |key: &str| fields.get(key).and_then(|value| value.parse::<u64>().ok());
    let flag = |key: &str| number(key) == Some(1);
    let exit_code: Option<i32> = fields.get("code")?.parse().ok();
    let exec_error = fields.get("exec_error").filter(|text| !text.is_empty());
    Some(ExitReport {
        exit_code,
        // A shell tells a signal as 128 and its number only.
        signal: exit_code
            .map(|code| code - 128)
            .filter(|signal| (1..=64).contains(signal)),
        timed_out: flag("timed_out"),
        cancelled: flag("cancelled"),
        exec_error: exec_error.map(|text| (*text).to_owned()),
        leftovers: number("leftovers")
            .and_then(|count| u32::try_from(count).ok())
            .unwrap_or(0),
        output_dropped: number("dropped").unwrap_or(0),
        duration_ms: number("duration_ms").unwrap_or(0),
    })
}

/// How much the step printed, where that is said in front of a note.
pub fn output_size(text: &str) -> Option<u64> {
    fields(text)?.get("size")?.parse().ok()
}

fn fields(text: &str) -> Option<HashMap<&str, &str>> {
    let mut fields = HashMap::new();
    for line in text.lines() {
        let (key, value) = line.split_once('=')?;
        fields.insert(key, value);
        if (key, value) == ("end", "1") {
            return Some(fields);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_counts_once_its_last_line_is_there() {
        let text =
            "code=137\ntimed_out=1\ncancelled=0\nleftovers=2\ndropped=5\nduration_ms=70\nexec_error=\nend=1\n   ";
        let report = ExitReport {
            exit_code: Some(137),
            signal: Some(9),
            timed_out: true,
            leftovers: 2,
            output_dropped: 5,
            duration_ms: 70,
            ..ExitReport::default()
        };
        assert_eq!(exit_report(text), Some(report));
        for end in 0..text.find("end=1").expect("is there") + 5 {
            assert_eq!(exit_report(&text[..end]), None, "{end}");
        }
        assert_eq!(exit_report(&" ".repeat(2048)), None);
    }

    #[test]
    fn only_what_may_be_a_signal_is_told_as_one() {
        for (code, signal) in [
            (0, None),
            (128, None),
            (129, Some(1)),
            (143, Some(15)),
            (192, Some(64)),
            (255, None),
        ] {
            let report = exit_report(&format!("code={code}\nend=1\n")).expect("parses");
            assert_eq!((report.exit_code, report.signal), (Some(code), signal));
        }
        assert_eq!(
            exit_report("code=\ncancelled=1\nend=1").expect("parses").exit_code,
            None
        );
    }
}
