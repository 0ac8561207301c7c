//! The tables that are printed: what, ours, bare, ratio, goal, met or not.

use std::path::Path;

const HEAD: [&str; 6] = ["what", "ours", "bare", "ratio", "goal", "met"];
/// The column of what is compared with.
const BESIDE: usize = 2;

/// What a figure should be.
#[derive(Debug, Clone, Copy)]
pub enum Goal {
    /// This or more.
    AtLeast(f64, &'static str),
    /// This or less.
    AtMost(f64, &'static str),
    /// None was set: the figure explains another.
    None,
}

/// A table of one part.
pub struct Table {
    title: String,
    head: [String; 6],
    rows: Vec<[String; 6]>,
}

/// A line of it.
pub struct Line {
    /// What was measured.
    pub what: String,
    /// Of clawhand, with its unit.
    pub ours: String,
    /// Of the bare limit, with its unit.
    pub bare: String,
    /// How the two compare, or how much is added.
    pub ratio: String,
    /// What `figure` should be.
    pub goal: Goal,
    /// The number that the goal is about.
    pub figure: f64,
}

impl Table {
    pub fn new(title: impl Into<String>) -> Self {
        Self {
            title: title.into(),
            head: HEAD.map(str::to_owned),
            rows: Vec::new(),
        }
    }

    /// A table that compares not with a bare limit but with this peer.
    pub fn beside(title: impl Into<String>, peer: &str) -> Self {
        let mut table = Self::new(title);
        peer.clone_into(&mut table.head[BESIDE]);
        table
    }

    pub fn add(&mut self, line: Line) {
        let (goal, met) = match line.goal {
            Goal::AtLeast(least, unit) => (format!(">= {least}{unit}"), Some(line.figure >= least)),
            Goal::AtMost(most, unit) => (format!("<= {most}{unit}"), Some(line.figure <= most)),
            Goal::None => (String::new(), None),
        };
        let met = met.map_or("", |met| if met { "yes" } else { "NO" }).to_owned();
        self.rows.push([line.what, line.ours, line.bare, line.ratio, goal, met]);
    }

    /// As Markdown, aligned for a terminal.
    pub fn print(&self) {
        let width = |column: usize| {
            let cells = self.rows.iter().chain(std::iter::once(&self.head));
            cells.map(|row| row[column].chars().count()).max().unwrap_or(0)
        };
        let line = |row: &[String; 6]| {
            let cells = row.iter().enumerate();
            let cells: Vec<_> = cells.map(|(at, cell)| format!("{cell:<0$}", width(at))).collect();
            format!("| {} |", cells.join(" | "))
        };
        println!("\n### {}\n", self.title);
        println!("{}", line(&self.head));
        let dashes: Vec<_> = (0..HEAD.len()).map(|at| "-".repeat(width(at))).collect();
        println!("| {} |", dashes.join(" | "));
        for row in &self.rows {
            println!("{}", line(row));
        }
        println!("\nload: {}", load());
    }
}

/// The machine in general words.
pub fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let folder = std::env::temp_dir();
    format!(
        "{cores} cores; data on {} ({}); load at the start: {}",
        folder.display(),
        file_system(&folder),
        load()
    )
}

/// Where data is kept in memory, "durable" says nothing.
fn file_system(folder: &Path) -> String {
    match nix::sys::statfs::statfs(folder) {
        Ok(found) if found.filesystem_type() == nix::sys::statfs::TMPFS_MAGIC => {
            "in memory: the figures of databases say nothing about durability; set TMPDIR".into()
        }
        Ok(_) => "on a disk".into(),
        Err(error) => error.to_string(),
    }
}

/// The load averages: how busy others keep the machine.
pub fn load() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').take(3).collect::<Vec<_>>().join(" ")
}
