//! `cryprq-installer` makes the package that installs the daemon and its command line on a Mac, on Linux.
//!
//! A flat package is a xar archive. Ours holds `Distribution`, which tells the installer what may be installed where, and
//! one component, `daemon.pkg`: `PackageInfo`, `Bom` (each file with mode, owner and checksum), `Payload` (the files) and
//! `Scripts`. The same input gives the same bytes. No Mac has opened one.

#![forbid(unsafe_code)]

mod bom;
mod cpio;
mod macho;
mod package;
mod payload;
mod tree;
mod xar;

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use clap::Parser;

use crate::payload::Parts;

/// Make CrypRQ's package for macOS, without the app.
#[derive(Parser)]
#[command(version)]
struct Args {
    /// The folder of `cryprqd` and `cryprq`, each a Mach-O for arm64 and x86_64 at once.
    #[arg(long, value_name = "FOLDER")]
    programs: PathBuf,
    /// The folder of `man/*.1` and of the completions `cryprq.bash`, `cryprq.zsh` and `cryprq.fish`.
    #[arg(long, value_name = "FOLDER")]
    parts: PathBuf,
    /// A licence or the like, for /opt/cryprq/share/doc; once for each.
    #[arg(long = "doc", value_name = "FILE")]
    docs: Vec<PathBuf>,
    /// The time that every file gets, in seconds since 1970.
    #[arg(long, value_name = "SECONDS", env = "SOURCE_DATE_EPOCH")]
    date: u32,
    /// The version of the package.
    #[arg(long, value_name = "VERSION", default_value = env!("CARGO_PKG_VERSION"))]
    package_version: String,
    /// Where to write the package.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cryprq-installer: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<()> {
    let version = &args.package_version;
    let numbers: Vec<_> = version.split('.').map(str::parse::<u16>).collect();
    ensure!(numbers.len() == 3 && numbers.iter().all(Result::is_ok), "{version:?} is no version: three numbers are");
    let parts = Parts::read(&args.programs, &args.parts, &args.docs)?;
    let package = package::product(&parts.tree(version)?, version, args.date)?;
    // As a whole or not at all.
    let beside = args.out.with_extension("pkg.new");
    fs::write(&beside, package)
        .and_then(|()| fs::rename(&beside, &args.out))
        .inspect_err(|_| {
            let _ = fs::remove_file(&beside);
        })
        .with_context(|| format!("cannot write {}", args.out.display()))
}
