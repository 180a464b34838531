//! Standard output and standard error: what is for people, what is for programs.

use std::io::{self, IsTerminal, Write};

use anstream::{AutoStream, ColorChoice};
use cryprq_ipc_proto::error::ErrorBody;
use cryprq_ipc_proto::json::write_reply;
use cryprq_ipc_proto::printable::printable_lines;
use serde_json::Value;

use crate::args::Color;
use crate::clean;
use crate::error::{Result, local};

/// For whom the answers are.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Text,
    Json,
}

/// Where answers go, and how they look there.
pub(crate) struct Output {
    format: Format,
    color: ColorChoice,
    terminal: bool,
}

/// Columns and rows of a terminal.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    pub(crate) columns: usize,
    pub(crate) rows: usize,
}

impl Output {
    pub(crate) fn new(format: Format, color: Color) -> Self {
        let color = match color {
            Color::Auto => AutoStream::choice(&io::stdout()),
            Color::Always => ColorChoice::Always,
            Color::Never => ColorChoice::Never,
        };
        Self { format, color, terminal: io::stdout().is_terminal() }
    }

    pub(crate) fn json_only() -> Self {
        Self::new(Format::Json, Color::Never)
    }

    pub(crate) const fn format(&self) -> Format {
        self.format
    }

    pub(crate) const fn is_terminal(&self) -> bool {
        self.terminal
    }

    /// What text has to fit into: the terminal, or nothing when it goes into a file or a pipe. `COLUMNS` wins.
    pub(crate) fn size(&self) -> Size {
        let told =
            std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok()).filter(|&columns| columns > 0);
        let seen = self.terminal.then(|| terminal_size::terminal_size_of(io::stdout())).flatten();
        let seen = seen.map(|(width, height)| (usize::from(width.0), usize::from(height.0)));
        let (columns, rows) =
            seen.filter(|&(columns, rows)| columns > 0 && rows > 0).unwrap_or((usize::MAX, usize::MAX));
        Size { columns: told.unwrap_or(columns), rows }
    }

    /// Writes text, in colours where they are wanted.
    pub(crate) fn print(&self, draw: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<()> {
        let mut out = AutoStream::new(io::stdout(), self.color);
        finished(draw(&mut out).and_then(|()| out.flush()))
    }

    /// Writes text over what stands on the terminal, as much of it as fits; elsewhere, writes it below.
    pub(crate) fn redraw(&self, draw: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<()> {
        if !self.terminal {
            return self.print(|out| draw(out).and_then(|()| writeln!(out)));
        }
        let mut page = AutoStream::new(Vec::new(), self.color);
        draw(&mut page).map_err(|error| local("draw", &error))?;
        let page = String::from_utf8_lossy(page.as_inner()).into_owned();
        let mut out = io::stdout().lock();
        finished(out.write_all(fitted(&page, self.size().rows).as_bytes()).and_then(|()| out.flush()))
    }

    /// Writes text as it is; on a terminal, without what a terminal obeys.
    pub(crate) fn document(&self, text: &str) -> Result<()> {
        let text = if self.terminal { printable_lines(text) } else { text.to_owned() };
        finished(io::stdout().write_all(text.as_bytes()))
    }

    /// Writes one line of JSON as it is; on a terminal, the same JSON without what a terminal obeys.
    pub(crate) fn json(&self, line: &str) -> Result<()> {
        let line = if self.terminal { clean::json(line) } else { line.to_owned() };
        finished(writeln!(io::stdout(), "{}", line.trim_end()))
    }

    /// Talk that is not the answer; programs do not want it.
    pub(crate) fn remark(&self, text: &str) {
        if self.format == Format::Text {
            eprintln!("{text}");
        }
    }

    /// What, why, and what to do.
    pub(crate) fn complain(&self, error: &ErrorBody) {
        match self.format {
            Format::Text => {
                eprintln!("cryprq: {}", printable_lines(&error.message));
                if let Some(hint) = &error.hint {
                    eprintln!("try: {}", printable_lines(hint));
                }
            }
            // Nobody is left to be told that nobody listens.
            Format::Json => drop(self.json(&write_reply(Some(&Value::Null), &Err(error.clone())))),
        }
    }
}

/// A reader that left early (`| head`) has seen enough, which is no error and ends the program.
fn finished(written: io::Result<()>) -> Result<()> {
    match written {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => std::process::exit(0),
        Err(error) => Err(local("write the answer", &error)),
        Ok(()) => Ok(()),
    }
}

/// The page from the first corner on, each line and the rest below it wiped (ECMA-48: CUP, EL, ED).
fn fitted(page: &str, rows: usize) -> String {
    const HOME: &str = "\x1b[H";
    const WIPE_LINE: &str = "\x1b[0m\x1b[K\r\n";
    const WIPE_BELOW: &str = "\x1b[0m\x1b[J";
    let lines: Vec<_> = page.lines().collect();
    let room = rows.saturating_sub(1).max(1);
    let mut out = HOME.to_owned();
    if lines.len() <= room {
        lines.iter().for_each(|line| out.extend([*line, WIPE_LINE]));
    } else {
        lines[..room - 1].iter().for_each(|line| out.extend([*line, WIPE_LINE]));
        out.extend([&format!("… {} more lines", lines.len() + 1 - room), WIPE_LINE]);
    }
    out + WIPE_BELOW
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(page: &str, rows: usize) -> Vec<String> {
        let text = fitted(page, rows).replace("\x1b[0m\x1b[K", "");
        let text = text.trim_start_matches("\x1b[H").trim_end_matches("\x1b[0m\x1b[J");
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn a_page_that_fits_is_drawn_whole_and_a_longer_one_says_what_is_missing() {
        assert_eq!(shown("a\nb\n", 3), ["a", "b"]);
        assert_eq!(shown("a\nb\nc\n", 3), ["a", "… 2 more lines"]);
        assert_eq!(shown("a\nb\nc\n", usize::MAX), ["a", "b", "c"]);
    }

    #[test]
    fn each_redrawn_line_wipes_the_rest_of_its_row() {
        assert_eq!(fitted("a\n", 9), "\x1b[Ha\x1b[0m\x1b[K\r\n\x1b[0m\x1b[J");
    }
}
