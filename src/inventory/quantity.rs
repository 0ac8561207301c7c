//! Durations and sizes as people write them: `30m`, `1h 30m`, `64 MiB`.

use std::time::Duration;

/// A duration, or why it isn't one.
pub(super) fn duration(text: &str) -> Result<Duration, &'static str> {
    const WRONG: &str = "write a number with a unit, such as \"30s\", \"15m\", \"2h\" or \"1d\"";
    const TEN_YEARS: u64 = 10 * 366 * 24 * 3600;
    let mut seconds: u64 = 0;
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err(WRONG);
    }
    while !rest.is_empty() {
        let (number, unit, after) = part(rest).ok_or(WRONG)?;
        let unit = match unit {
            "s" | "sec" | "second" | "seconds" => 1,
            "m" | "min" | "minute" | "minutes" => 60,
            "h" | "hour" | "hours" => 3600,
            "d" | "day" | "days" => 24 * 3600,
            _ => return Err(WRONG),
        };
        seconds = number
            .checked_mul(unit)
            .and_then(|more| seconds.checked_add(more))
            .ok_or(WRONG)?;
        rest = after;
    }
    match seconds {
        0 => Err("it must be at least one second"),
        1..=TEN_YEARS => Ok(Duration::from_secs(seconds)),
        _ => Err("it must be less than ten years"),
    }
}

/// A number of bytes, or why it isn't one.
pub(super) fn size(text: &str) -> Result<u64, &'static str> {
    const WRONG: &str = "write a number with a unit, such as \"512 KiB\", \"64 MiB\" or \"1 GiB\"";
    let (number, unit, rest) = part(text.trim()).ok_or(WRONG)?;
    let unit = match unit.to_ascii_lowercase().as_str() {
        "b" => 1,
        "kb" => 1000,
        "kib" | "k" => 1 << 10,
        "mb" => 1_000_000,
        "mib" | "m" => 1 << 20,
        "gb" => 1_000_000_000,
        "gib" | "g" => 1 << 30,
        "tb" => 1_000_000_000_000,
        "tib" | "t" => 1 << 40,
        _ => return Err(WRONG),
    };
    match number.checked_mul(unit) {
        // What is stored and what limits take is a signed number.
        Some(bytes) if rest.is_empty() && i64::try_from(bytes).is_ok() => {
            if bytes == 0 {
                Err("it must be at least one byte")
            } else {
                Ok(bytes)
            }
        }
        _ => Err(WRONG),
    }
}

/// A number, its unit, and what comes after.
fn part(text: &str) -> Option<(u64, &str, &str)> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let number = text.get(..digits)?.parse().ok()?;
    let rest = text.get(digits..)?.trim_start();
    let letters = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
    Some((number, rest.get(..letters)?, rest.get(letters..)?.trim_start()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, seconds) in [
            ("30s", 30),
            ("30m", 1800),
            ("1h30m", 5400),
            ("1h 30 min", 5400),
            ("2 days", 172_800),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in [
            "",
            "30",
            "m",
            "0s",
            "-1s",
            "1.5h",
            "30q",
            "99999999999999999999s",
            "99999999d",
            "1h30",
        ] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes() {
        for (text, bytes) in [("64 MiB", 64 << 20), ("1GiB", 1 << 30), ("10 kb", 10_000), ("7 B", 7)] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for text in ["", "64", "MiB", "0 MiB", "1 XB", "99999999 TiB", "1 MiB 2", "-1 MiB"] {
            assert!(size(text).is_err(), "{text}");
        }
    }
}
