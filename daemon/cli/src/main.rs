//! `cryprq`, the command line: it asks the daemon over the control socket and shows the answers.

#![forbid(unsafe_code)]

mod args;
mod clean;
mod client;
mod cmd;
mod error;
mod exit;
mod output;
mod qr;
mod render;

use std::process::ExitCode;

use clap::Parser;
use cryprq_ipc_proto::error::{ErrorBody, ErrorCode};

use args::Args;
use exit::Exit;
use output::Output;

fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => return misused(&error).into(),
    };
    let out = Output::new(args.format(), args.color());
    match args.run(&out) {
        Ok(exit) => exit.into(),
        Err(error) => {
            out.complain(&error);
            Exit::of(error.code).into()
        }
    }
}

/// Help, the version, or what is wrong with the words that were typed.
fn misused(error: &clap::Error) -> Exit {
    if !error.use_stderr() {
        // A reader that left early has seen enough of the help.
        let _ = error.print();
        return Exit::Ok;
    }
    if std::env::args_os().any(|arg| arg == "--json") {
        let text = error.to_string();
        let what = text.lines().next().unwrap_or_default().trim_start_matches("error: ");
        Output::json_only().complain(&ErrorBody::new(ErrorCode::BadRequest, what).hint("cryprq --help"));
    } else {
        let _ = error.print();
    }
    Exit::Usage
}
