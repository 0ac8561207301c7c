//! What can be seen of attempts whose processes and files are on this machine.

use std::path::Path;

use clawhand::executors::Handle;

use super::super::rig::processes_of;

/// The processes of an attempt, with their command lines.
pub fn processes(handle: &Handle) -> Vec<String> {
    let found = processes_of(&[handle.attempt.to_string()]);
    found
        .iter()
        .map(|pid| format!("{pid} {}", command_line(&pid.to_string())))
        .collect()
}

/// The command lines of all processes, and all that is in the files of a folder.
pub fn in_sight(folder: &Path) -> String {
    let numbers = std::fs::read_dir("/proc").expect("lists").flatten();
    let names = numbers.filter_map(|entry| entry.file_name().into_string().ok());
    let lines: Vec<String> = names.map(|name| command_line(&name)).collect();
    let files = std::process::Command::new("grep")
        .args(["-r", "-D", "skip", ""])
        .arg(folder)
        .output();
    format!(
        "{}\n{}",
        lines.join("\n"),
        String::from_utf8_lossy(&files.expect("greps").stdout)
    )
}

/// The folder, if it is there.
pub fn if_there(folder: &Path) -> Vec<String> {
    let there = folder.exists().then(|| folder.display().to_string());
    there.into_iter().collect()
}

fn command_line(pid: &str) -> String {
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&line).replace('\0', " ")
}
