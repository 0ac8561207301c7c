//! The program clawhand.

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    match (args.next(), args.next()) {
        (Some(word), Some(dir)) if word == "supervise" => clawhand::executors::supervisor::main(Path::new(&dir)),
        _ => ExitCode::from(2),
    }
}
