//! What a process holds in memory, as the kernel counts it.

use std::path::Path;

use anyhow::Context as _;

/// A figure of /proc/PID/status, in MiB: VmRSS is now, VmHWM was the most.
pub fn mib(pid: u32, field: &str) -> anyhow::Result<f64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    let kib = line.and_then(|line| line.split_whitespace().next());
    let kib: f64 = kib.with_context(|| format!("no {field} of process {pid}"))?.parse()?;
    Ok(kib / 1024.0)
}

/// The supervisor of a step whose folder lies below `data`, if one runs.
pub fn supervisor_below(data: &Path) -> Option<u32> {
    let data = data.to_str()?;
    let numbers = std::fs::read_dir("/proc").ok()?.flatten();
    numbers
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .find(|pid| {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let mut words = line
                .split(|byte| *byte == 0)
                .filter_map(|word| std::str::from_utf8(word).ok());
            words.nth(1) == Some("supervise") && words.next().is_some_and(|folder| folder.starts_with(data))
        })
}
