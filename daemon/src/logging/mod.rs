//! The log: to standard error, its level changeable while the daemon runs.
//!
//! Lines from `info` on name no address, no key and nobody: peers have numbers in them, which `debug` explains.

mod pace;

use std::io::IsTerminal;
use std::str::FromStr;

use os::clock::boottime;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Registry, fmt, reload};

use pace::{Paced, Priorities};

/// Overrides `log.level`.
const OVERRIDE: &str = "CRYPRQ_LOG";
/// Set by systemd when standard error leads to journald.
const JOURNAL: &str = "JOURNAL_STREAM";

/// Changes what goes into the log.
#[derive(Clone)]
pub struct LogLevel {
    handle: reload::Handle<EnvFilter, Registry>,
    /// The environment's word, which is above the configuration's.
    overridden: bool,
}

/// Starts the log. `CRYPRQ_LOG` overrides `level`.
pub fn start(level: &str) -> LogLevel {
    let named = std::env::var(OVERRIDE).ok();
    let chosen = named.as_deref().and_then(filter);
    let not_understood = named.is_some() && chosen.is_none();
    let overridden = chosen.is_some();
    let filter = chosen.or_else(|| filter(level)).unwrap_or_else(|| EnvFilter::new("info"));
    let (filter, handle) = reload::Layer::new(filter);
    // systemd and launchd stamp each line with the time themselves.
    let format = fmt::format().with_target(false).without_time();
    let priorities = if std::env::var_os(JOURNAL).is_some() { Priorities::Written } else { Priorities::None };
    let lines = fmt::layer()
        .event_format(Paced::new(format, priorities, boottime))
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    // A second start in one process (tests) keeps the first log.
    let _ = tracing_subscriber::registry().with(filter).with(lines).try_init();
    if not_understood {
        tracing::warn!("{OVERRIDE} is none of error, warn, info, debug, trace, and is not used");
    }
    LogLevel { handle, overridden }
}

impl LogLevel {
    /// Takes over a level of the configuration, unless the environment overrides it.
    pub fn configure(&self, level: &str) {
        if !self.overridden {
            // The configuration was checked, and the log lives as long as the daemon.
            let _ = self.set(level);
        }
    }

    /// Sets the level.
    ///
    /// # Errors
    /// The names that would have been understood.
    pub fn set(&self, level: &str) -> Result<(), String> {
        let filter = filter(level).ok_or("a level is one of error, warn, info, debug, trace")?;
        self.handle.reload(filter).map_err(|error| error.to_string())
    }
}

/// Ours at the level asked for. The libraries' lines name addresses even in warnings: they are for who wants details.
fn filter(level: &str) -> Option<EnvFilter> {
    let level = LevelFilter::from_str(level).ok()?;
    let libraries = if level >= LevelFilter::DEBUG { LevelFilter::WARN } else { LevelFilter::OFF };
    let ours = ["cryprqd", "net", "os", "node"].map(|name| format!("{name}={level}")).join(",");
    EnvFilter::try_new(format!("{libraries},{ours}")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_known_by_their_names() {
        assert!(["error", "warn", "info", "debug", "trace"].iter().all(|level| filter(level).is_some()));
        assert!(filter("loud\nx").is_none());
    }
}
