//! A block of labelled lines that fits into the terminal.

use std::io::{self, Write};

use anstyle::Style;
use unicode_width::UnicodeWidthStr;

/// Where values begin.
const MARGIN: usize = 13;
/// A value is not squeezed into less than this.
const NARROWEST: usize = 20;

/// Writes a block.
pub(super) struct Sheet<'a> {
    out: &'a mut dyn Write,
    columns: usize,
}

impl<'a> Sheet<'a> {
    pub(super) fn new(out: &'a mut dyn Write, columns: usize) -> Self {
        Self { out, columns }
    }

    /// A line as it is.
    pub(super) fn line(&mut self, line: std::fmt::Arguments<'_>) -> io::Result<()> {
        writeln!(self.out, "{line}")
    }

    /// A label and its value; what does not fit goes on below the value.
    pub(super) fn field(&mut self, label: &str, value: &str) -> io::Result<()> {
        let lead = format!("  {label:width$}", width = MARGIN - 2);
        self.wrapped(&lead, MARGIN, Style::new(), value)
    }

    /// Something that a person should know, and what mends it.
    pub(super) fn warning(&mut self, style: Style, text: &str, hint: Option<&str>) -> io::Result<()> {
        self.wrapped("  ! ", 4, style, text)?;
        hint.map_or(Ok(()), |hint| self.wrapped("    ", 4, Style::new(), hint))
    }

    fn wrapped(&mut self, lead: &str, indent: usize, style: Style, text: &str) -> io::Result<()> {
        let room = self.columns.saturating_sub(indent).max(NARROWEST);
        for (number, line) in wrap(text, room).iter().enumerate() {
            let lead = if number == 0 { lead } else { &" ".repeat(indent) };
            writeln!(self.out, "{style}{lead}{line}{style:#}")?;
        }
        Ok(())
    }
}

/// Lines of at most `room` columns, broken at blanks; a longer word gets a line of its own.
fn wrap(text: &str, room: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let line = lines.last_mut().expect("there is always a line");
        if line.is_empty() {
            line.push_str(word);
        } else if line.width() + 1 + word.width() <= room {
            line.extend([" ", word]);
        } else {
            lines.push(word.to_owned());
        }
    }
    lines
}

/// The text, filled up or cut to so many columns.
pub(super) fn padded(text: &str, columns: usize) -> String {
    let text = cut(text, columns);
    let missing = columns.saturating_sub(text.width());
    text + &" ".repeat(missing)
}

/// The text in at most so many columns; `…` stands for what is missing.
pub(super) fn cut(text: &str, columns: usize) -> String {
    if text.width() <= columns {
        return text.to_owned();
    }
    let mut short = String::new();
    for c in text.chars() {
        short.push(c);
        if short.width() + 1 > columns {
            short.pop();
            break;
        }
    }
    short + "…"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_break_at_blanks_and_long_words_stay_whole() {
        assert_eq!(wrap("aa bb cc", 5), ["aa bb", "cc"]);
        assert_eq!(wrap("aaaaaaaa b", 5), ["aaaaaaaa", "b"]);
        assert_eq!(wrap("笔记 笔记", 5), ["笔记", "笔记"]);
        assert_eq!(wrap("", 5), [""]);
        assert_eq!(wrap("aa bb cc", usize::MAX), ["aa bb cc"]);
    }

    #[test]
    fn columns_are_counted_as_a_terminal_counts_them() {
        assert_eq!(
            (padded("ab", 4), padded("笔记", 5), padded("abcdef", 4)),
            ("ab  ".into(), "笔记 ".into(), "abc…".into())
        );
        assert_eq!((cut("abc", 3), cut("abcd", 3), cut("笔记本", 4)), ("abc".into(), "ab…".into(), "笔…".into()));
        assert_eq!(cut("abc", 0), "…");
    }
}
