//! Warnings that repeat: each place in the code may say a few a minute, then only how many were left out.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use node::time::Time;
use tracing::callsite::Identifier;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

const MINUTE: Duration = Duration::from_secs(60);
/// Lines of one place a minute.
const PER_MINUTE: u32 = 10;

/// Writes events as `format` does, but no flood of warnings.
pub(super) struct Paced<F> {
    format: F,
    /// Whether lines begin with the priority that journald reads.
    priorities: Priorities,
    clock: fn() -> Time,
    places: Mutex<HashMap<Identifier, Place>>,
}

/// What reads the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Priorities {
    /// journald, which takes `<3>` to `<7>` for the priority of a line.
    Written,
    /// Anything else.
    None,
}

#[derive(Clone, Copy)]
struct Place {
    /// The beginning of its minute.
    since: Time,
    lines: u32,
    left_out: u64,
}

impl<F> Paced<F> {
    pub(super) fn new(format: F, priorities: Priorities, clock: fn() -> Time) -> Self {
        Self { format, priorities, clock, places: Mutex::default() }
    }

    /// How many lines of this place were left out before this one; `None` when this one is left out too.
    fn pass(&self, place: Identifier) -> Option<u64> {
        let now = (self.clock)();
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        let place = places.entry(place).or_insert(Place { since: now, lines: 0, left_out: 0 });
        if now.saturating_since(place.since) >= MINUTE {
            (place.since, place.lines) = (now, 0);
        }
        if place.lines >= PER_MINUTE {
            place.left_out += 1;
            return None;
        }
        place.lines += 1;
        Some(std::mem::take(&mut place.left_out))
    }
}

impl<S, N, F> FormatEvent<S, N> for Paced<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut to: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let (level, place) = (*event.metadata().level(), event.metadata().callsite());
        let repeats = level <= Level::WARN;
        let left_out = if repeats { self.pass(place) } else { Some(0) };
        // A line of nothing is none.
        let Some(left_out) = left_out else { return Ok(()) };
        if self.priorities == Priorities::Written {
            let priority = match level {
                Level::ERROR => 3,
                Level::WARN => 4,
                Level::INFO => 6,
                _ => 7,
            };
            write!(to, "<{priority}>")?;
        }
        if left_out > 0 {
            write!(to, "({left_out} like this were left out) ")?;
        }
        self.format.format_event(context, to, event)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use tracing_subscriber::fmt;

    use super::*;

    static SECONDS: AtomicU64 = AtomicU64::new(0);

    fn clock() -> Time {
        Time::ZERO + Duration::from_secs(SECONDS.load(Ordering::Relaxed))
    }

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn attack_13_a_flood_of_one_warning_is_a_few_lines_and_a_number() {
        let lines = Lines::default();
        let to = lines.clone();
        let format = Paced::new(fmt::format().with_target(false).without_time(), Priorities::Written, clock);
        let subscriber = fmt().with_ansi(false).event_format(format).with_writer(move || to.clone()).finish();
        tracing::subscriber::with_default(subscriber, || {
            for round in 0..2 {
                for _ in 0..1000 {
                    tracing::warn!(round, "flood");
                    tracing::info!("news");
                }
                SECONDS.fetch_add(60, Ordering::Relaxed);
            }
            tracing::error!("another place");
        });
        let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        let count = |what: &str| text.lines().filter(|line| line.contains(what)).count();
        assert_eq!((count("flood"), count("news"), count("another place")), (20, 2000, 1));
        assert!(text.contains("<4>(990 like this were left out)  WARN flood round=1\n"), "{text}");
        assert!(text.contains("<6> INFO news\n") && text.contains("<3>ERROR another place\n"));
        assert_eq!(text.lines().count(), 2021, "what is left out leaves no empty line");
    }
}
