//! Runs `benches/peers/`, a package of its own, so that `cargo test` builds none of the peers.

use std::env;
use std::process::{Command, ExitCode};

fn main() -> ExitCode {
    let mut args: Vec<String> = env::args().skip(1).collect();
    // cargo says so to every benchmark; without it this is no benchmark but a test of all targets.
    if args.iter().all(|arg| arg != "--bench") {
        return ExitCode::SUCCESS;
    }
    args.retain(|arg| arg != "--bench");
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/peers/Cargo.toml");
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut run = Command::new(cargo);
    run.args(["run", "--release", "--quiet", "--manifest-path", manifest, "--"]);
    run.args(args);
    // What cargo says of this package would have build scripts of the other one run again.
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            run.env_remove(name);
        }
    }
    match run.status() {
        Ok(status) if status.success() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(err) => {
            eprintln!("cargo could not be run: {err}");
            ExitCode::FAILURE
        }
    }
}
