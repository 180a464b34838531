//! `cryprq metrics`.

use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use cryprq_ipc_proto::message::{Reply, Request};

use super::Context;
use crate::error::{Result, foreign, local};
use crate::exit::Exit;
use crate::output::Format;

/// Print the daemon's metrics as OpenMetrics text.
#[derive(clap::Args)]
#[command(
    after_help = "For node_exporter's textfile collector call it with --write from a timer, and end FILE in .prom."
)]
pub(crate) struct Metrics {
    /// Write them to a file instead, which is replaced as a whole and may be read by everybody.
    #[arg(long, value_name = "FILE")]
    write: Option<PathBuf>,
}

impl Metrics {
    pub(crate) fn run(self, context: &Context<'_>) -> Result<Exit> {
        let answer = context.connect()?.ask(&Request::Metrics {})?;
        let Reply::Metrics { text } = answer.reply else { return Err(foreign()) };
        match (self.write, context.out.format()) {
            (Some(file), _) => {
                replace(&file, &text).map_err(|error| local(format_args!("write {}", file.display()), &error))?;
                return context.done();
            }
            (None, Format::Json) => context.out.json(&answer.line)?,
            (None, Format::Text) => context.out.document(&text)?,
        }
        Ok(Exit::Ok)
    }
}

/// Whoever reads the file at any moment reads all of the old text or all of the new.
fn replace(file: &Path, text: &str) -> io::Result<()> {
    let name = file.file_name().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "it has no file name"))?;
    let mut beside = OsString::from(".");
    beside.push(name);
    beside.push(format!(".{}", std::process::id()));
    let beside = file.with_file_name(beside);
    let written = OpenOptions::new().write(true).create_new(true).open(&beside).and_then(|mut new| {
        new.write_all(text.as_bytes())?;
        new.set_permissions(fs::Permissions::from_mode(0o644))?;
        fs::rename(&beside, file)
    });
    if written.as_ref().is_err_and(|error| error.kind() != io::ErrorKind::AlreadyExists) {
        let _ = fs::remove_file(&beside);
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metrics_file_is_replaced_as_a_whole_and_nothing_is_left_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("cryprq.prom");
        replace(&file, "old and long\n").unwrap();
        replace(&file, "new\n").unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "new\n");
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o644);
        fs::create_dir(dir.path().join("folder")).unwrap();
        assert!(replace(&dir.path().join("folder"), "x").is_err());
        assert!(replace(&dir.path().join("absent/cryprq.prom"), "x").is_err());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2, "the file and the folder");
    }
}
