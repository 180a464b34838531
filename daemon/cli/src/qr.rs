//! A ticket as a QR code of half-block characters: two rows of modules a line of text.

use std::io::{self, Write};

use anstyle::{Ansi256Color, Color, Style};
use qrcode::render::unicode::Dense1x2;
use qrcode::{EcLevel, QrCode};

/// White blocks on black, whatever the terminal's own colours are: entries 231 and 16 of the palette are fixed. Without
/// colours it is right on a dark terminal, and inverted on a light one, which readers take as well.
const PAPER: Style =
    Style::new().fg_color(Some(Color::Ansi256(Ansi256Color(231)))).bg_color(Some(Color::Ansi256(Ansi256Color(16))));

/// A QR code.
pub(crate) struct Code {
    lines: Vec<String>,
}

impl Code {
    /// The code of a ticket; `None` when it is too long for one. Upper case takes two thirds of the room, and a ticket is
    /// read in either case (protocol.md 10).
    pub(crate) fn of(ticket: &str) -> Option<Self> {
        let text = ticket.to_ascii_uppercase();
        // A screen has no dirt and no folds: the lowest correction gives the smallest code.
        let code = QrCode::with_error_correction_level(text, EcLevel::L).ok()?;
        let image = code.render().dark_color(Dense1x2::Light).light_color(Dense1x2::Dark).build();
        Some(Self { lines: image.lines().map(str::to_owned).collect() })
    }

    /// How wide it is, its margin included.
    pub(crate) fn columns(&self) -> usize {
        self.lines.first().map_or(0, |line| line.chars().count())
    }

    /// Draws it.
    pub(crate) fn draw(&self, out: &mut dyn Write) -> io::Result<()> {
        self.lines.iter().try_for_each(|line| writeln!(out, "{PAPER}{line}{PAPER:#}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TICKET: &str = "cryprq:AESUHOJP6EEVKEKHNLOIG2O3NXOJGNTFUEMXRXNBIBHOCBTMVFKZ3YHB4LR6JZPG47AMDQWDYTC4NR6IZHFMXT\
                          GNZ3HQCCYEZMAHCCURAKRVZTIDUYLPEII";

    /// What a camera sees: the modules of the drawn characters, some pixels each, dark where no block is lit.
    fn seen(code: &Code) -> (usize, usize, impl Fn(usize, usize) -> u8) {
        const PIXELS: usize = 4;
        let mut out = anstream::StripStream::new(Vec::new());
        code.draw(&mut out).unwrap();
        let text = String::from_utf8(out.into_inner()).unwrap();
        let mut rows = Vec::new();
        for line in text.lines() {
            let (upper, lower): (Vec<_>, Vec<_>) = line
                .chars()
                .map(|c| match c {
                    '█' => (true, true),
                    '▀' => (true, false),
                    '▄' => (false, true),
                    ' ' => (false, false),
                    other => panic!("{other:?} is no half block"),
                })
                .unzip();
            rows.extend([upper, lower]);
        }
        let (width, height) = (rows[0].len() * PIXELS, rows.len() * PIXELS);
        (width, height, move |x: usize, y: usize| if rows[y / PIXELS][x / PIXELS] { 255 } else { 0 })
    }

    fn read(code: &Code) -> String {
        let (width, height, pixel) = seen(code);
        let mut image = rqrr::PreparedImage::prepare_from_greyscale(width, height, pixel);
        let grids = image.detect_grids();
        assert_eq!(grids.len(), 1, "one code is seen");
        grids[0].decode().unwrap().1
    }

    #[test]
    fn a_reader_sees_the_ticket_in_the_drawn_code() {
        assert_eq!(read(&Code::of(TICKET).unwrap()), TICKET.to_ascii_uppercase());
    }

    #[test]
    fn the_longest_ticket_fits_into_eighty_columns() {
        let longest = format!("cryprq:{}", "A7".repeat(252) + "B");
        assert_eq!(longest.len(), 512);
        let code = Code::of(&longest).unwrap();
        assert!(code.columns() <= 80, "{}", code.columns());
        assert_eq!(read(&code), longest.to_ascii_uppercase());
    }

    #[test]
    fn a_ticket_is_written_in_alphanumeric_mode() {
        // Version 6 (41 modules) holds 195 such characters and 134 bytes, version 5 (37 modules) 154 and 106.
        assert_eq!(TICKET.len(), 126);
        assert_eq!(Code::of(TICKET).unwrap().columns(), 37 + 2 * 4);
    }

    #[test]
    fn a_code_has_its_own_black_and_white() {
        let mut out = Vec::new();
        Code::of(TICKET).unwrap().draw(&mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(
            text.lines().all(|line| line.starts_with("\u{1b}[38;5;231m\u{1b}[48;5;16m") && line.ends_with("\u{1b}[0m")),
            "{text:?}"
        );
    }
}
