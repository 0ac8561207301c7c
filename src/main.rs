//! The program: arguments -> command -> exit code.

use std::path::Path;
use std::process::ExitCode;

use clap::Parser as _;
use clawhand::cli::{self, Arguments, Command};
use clawhand::config::Environment;

/// A call makes hundreds of small things; this gives and takes them faster than the C library's (docs/PERFORMANCE.md).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    clawhand::lifecycle::private_files();
    let arguments = Arguments::parse();
    // The supervisor of one step: small, synchronous, without a runtime, and long before anything else is opened.
    if let Command::Supervise { folder } = &arguments.command {
        return clawhand::executors::supervisor::main(Path::new(folder));
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("clawhand: the runtime can't start: {error}");
            return ExitCode::from(cli::exit::INTERNAL);
        }
    };
    let code = runtime.block_on(cli::execute(arguments, Environment::capture()));
    // Everything that matters has ended in there. A thread that still reads from an open standard input never would.
    runtime.shutdown_background();
    code
}
