//! Answers for people.

#[cfg(test)]
pub(crate) mod example;
mod invites;
mod netcheck;
mod peers;
mod sheet;
mod status;
mod units;

pub(crate) use invites::invites;
pub(crate) use netcheck::netcheck;
pub(crate) use peers::{peer, peers};
pub(crate) use status::status;
pub(crate) use units::moment;

use anstyle::{AnsiColor, Style};

const BOLD: Style = Style::new().bold();
const DIM: Style = Style::new().dimmed();
const GOOD: Style = AnsiColor::Green.on_default();
const ODD: Style = AnsiColor::Yellow.on_default();
const BAD: Style = AnsiColor::Red.on_default();

/// How the state of a peer looks. Names that a later daemon may have look like nothing special.
fn style_of(state: &str) -> Style {
    match state {
        "connected" => GOOD,
        "stalled" | "connecting" => ODD,
        "refused" => BAD,
        _ => DIM,
    }
}
