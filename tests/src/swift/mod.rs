//! Programs of the Swift package in `apple-extension`, for tests of it against real daemons.
//!
//! `CRYPRQ_SWIFT_PROGRAMS` is the folder that they were built to; tests/run sets it.

mod pump;

pub use pump::{PUMPED, Pump};

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::lab::Host;

/// A program of the Swift package; `None`, with a line that says why, where there is none.
pub fn program(name: &str) -> Option<PathBuf> {
    let Some(folder) = std::env::var_os("CRYPRQ_SWIFT_PROGRAMS") else {
        println!("skipped: Swift against real daemons: no toolchain");
        return None;
    };
    Some(PathBuf::from(folder).join(name))
}

/// What the menu shows for the daemon at this socket; numbers that depend on the moment are `N`. `before` and `after`
/// are what menu-rows takes before and after the socket.
///
/// # Errors
/// When the program was not built, or fails.
pub fn menu(
    program: &Path,
    host: Option<&Host>,
    before: &[&str],
    socket: &Path,
    after: &[&str],
) -> Result<Vec<String>> {
    let mut command = Command::new(program);
    command.args(before).arg(socket).args(after);
    let output = match host {
        Some(host) => host.output(command),
        None => command.output(),
    };
    let output = output.with_context(|| format!("{} was not built", program.display()))?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let told = String::from_utf8(output.stdout)?;
    Ok(told.lines().map(without_moments).collect())
}

/// Ages, rates and round trips are replaced; everything else stays.
fn without_moments(row: &str) -> String {
    let moment = row.starts_with("detail: last packet ") || row.starts_with("detail: new keys in ");
    let (start, end) = match row.split_once(", ").filter(|(start, _)| start.contains(" (") && !moment) {
        Some((start, rest)) if rest.contains(" ms)") => (start, rest.split_once(" ms)").map_or("", |(_, end)| end)),
        _ => return if moment { numbers_out(row) } else { row.to_owned() },
    };
    format!("{start}, N ms){end}")
}

/// Each number is an `N`, and so is "just now", with the unit that follows.
fn numbers_out(row: &str) -> String {
    let row = row.replace("just now", "0 s ago");
    let words = row.split(' ').map(|word| if word.parse::<u64>().is_ok() { "N" } else { word });
    words.collect::<Vec<_>>().join(" ").replace("kbit/s", "bit/s").replace("Mbit/s", "bit/s").replace("min", "s")
}

#[cfg(test)]
mod tests {
    use super::without_moments;

    #[test]
    fn what_depends_on_the_moment_is_taken_out() {
        for (row, expected) in [
            ("plain: b: connected (direct, 1 ms) [x]", "plain: b: connected (direct, N ms) [x]"),
            ("plain: b: connected (direct) [x]", "plain: b: connected (direct) [x]"),
            ("detail: last packet just now, ↓ 8 kbit/s ↑ 0 bit/s", "detail: last packet N s ago, ↓ N bit/s ↑ N bit/s"),
            ("detail: lab: 10.86.0.1, fd63::1", "detail: lab: 10.86.0.1, fd63::1"),
        ] {
            assert_eq!(without_moments(row), expected);
        }
    }
}
