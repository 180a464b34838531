//! What the demo prints: a row for each thing that happened, and a bar while something takes long.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

const NAME: usize = 22;
const BAR: usize = 30;
/// How often the bar is drawn on a terminal, and a line printed elsewhere.
const DRAWN: Duration = Duration::from_millis(100);
const PRINTED: Duration = Duration::from_secs(5);

/// The rows so far.
pub(crate) struct Table {
    terminal: bool,
    drawn: Option<Instant>,
    failed: bool,
}

/// A step went wrong, and its row is printed.
#[derive(Debug)]
pub(crate) struct Failed;

impl Table {
    pub(crate) fn new() -> Self {
        println!("CrypRQ: two hosts on this machine, one tunnel between them\n");
        Self { terminal: std::io::stdout().is_terminal(), drawn: None, failed: false }
    }

    /// Does one thing and prints its row. `work` gives what the others need and what happened.
    pub(crate) fn step<T>(
        &mut self,
        name: &str,
        work: impl FnOnce(&mut Self) -> anyhow::Result<(T, String)>,
    ) -> Result<T, Failed> {
        let result = work(self);
        self.clear();
        match result {
            Ok((value, what)) => {
                self.row("✓", "32", name, &what);
                Ok(value)
            }
            Err(error) => {
                self.row("✗", "31", name, &format!("{error:#}"));
                self.failed = true;
                Err(Failed)
            }
        }
    }

    /// Whether every row is good.
    pub(crate) fn end(self) -> bool {
        println!(
            "\n{}",
            if self.failed { "Not everything went well." } else { "All went well; nothing is left behind." }
        );
        !self.failed
    }

    /// Draws how far something is.
    pub(crate) fn bar(&mut self, part: f64, what: &str) {
        let pause = if self.terminal { DRAWN } else { PRINTED };
        if self.drawn.is_some_and(|drawn| drawn.elapsed() < pause) {
            return;
        }
        self.drawn = Some(Instant::now());
        let filled = ((part.clamp(0.0, 1.0) * BAR as f64) as usize).min(BAR);
        let bar = format!("  [{}{}] {:3.0} %  {what}", "#".repeat(filled), "·".repeat(BAR - filled), part * 100.0);
        if self.terminal {
            // Back to the line's beginning, and what was longer is erased (ECMA-48, EL).
            print!("\r{bar}\x1b[K");
            let _ = std::io::stdout().flush();
        } else {
            println!("{bar}");
        }
    }

    fn clear(&mut self) {
        if self.drawn.take().is_some() && self.terminal {
            print!("\r\x1b[K");
        }
    }

    fn row(&self, mark: &str, color: &str, name: &str, what: &str) {
        if self.terminal {
            println!("  \x1b[{color}m{mark}\x1b[0m {name:NAME$}{what}");
        } else {
            println!("  {mark} {name:NAME$}{what}");
        }
    }
}
