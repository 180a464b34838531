//! The log: to standard error, its level changeable while the daemon runs.

use std::str::FromStr;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Registry, fmt, reload};

/// Changes what goes into the log.
#[derive(Clone)]
pub struct LogLevel(reload::Handle<EnvFilter, Registry>);

/// Starts the log. `CRYPRQ_LOG` overrides `level`.
pub fn start(level: &str) -> LogLevel {
    let level = std::env::var("CRYPRQ_LOG").unwrap_or_else(|_| level.to_owned());
    let filter = filter(&level).unwrap_or_else(|| EnvFilter::new("info"));
    let (filter, handle) = reload::Layer::new(filter);
    // systemd and launchd stamp each line with the time themselves.
    let lines = fmt::layer().with_writer(std::io::stderr).with_target(false).without_time();
    // A second start in one process (tests) keeps the first log.
    let _ = tracing_subscriber::registry().with(filter).with(lines).try_init();
    LogLevel(handle)
}

impl LogLevel {
    /// Sets the level.
    ///
    /// # Errors
    /// The names that would have been understood.
    pub fn set(&self, level: &str) -> Result<(), String> {
        let filter = filter(level).ok_or("a level is one of error, warn, info, debug, trace")?;
        self.0.reload(filter).map_err(|error| error.to_string())
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
