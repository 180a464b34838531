//! The log: to standard error, its level changeable while the daemon runs.

use std::str::FromStr;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Registry, fmt, reload};

/// Overrides `log.level`.
const OVERRIDE: &str = "CRYPRQ_LOG";

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
    let filter = filter(named.as_deref().unwrap_or(level)).unwrap_or_else(|| EnvFilter::new("info"));
    let (filter, handle) = reload::Layer::new(filter);
    // systemd and launchd stamp each line with the time themselves.
    let lines = fmt::layer().with_writer(std::io::stderr).with_target(false).without_time();
    // A second start in one process (tests) keeps the first log.
    let _ = tracing_subscriber::registry().with(filter).with(lines).try_init();
    LogLevel { handle, overridden: named.is_some() }
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

/// Ours at the level asked for, and the libraries' at `warn`: their lines name addresses and are for their authors.
fn filter(level: &str) -> Option<EnvFilter> {
    let level = LevelFilter::from_str(level).ok()?;
    let ours = ["cryprqd", "net", "os", "node"].map(|name| format!("{name}={level}")).join(",");
    EnvFilter::try_new(format!("warn,{ours}")).ok()
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
