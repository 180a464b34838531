//! `cryprqd` as only tests may run it: with other limits, and with a fault on demand.
//!
//! The shipped daemon takes its limits from nowhere but the protocol; see the test of that name. Which limits this one
//! has, the variable `CRYPRQD_LAB` says:
//!
//! | value | limits |
//! |---|---|
//! | none | a rotation after each few messages, however fast they follow each other |
//! | `eager` | those of the protocol, but any number of handshakes is answered |
//! | `chacha` | those of the protocol, but AES-256-GCM is not announced |
//! | `dies:N` | those of the protocol, but at the Nth step of changing the system it kills itself |

#![forbid(unsafe_code)]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, bail};
use cryprqd::config::Config;
use cryprqd::system::Step;
use cryprqd::{logging, run};
use node::epoch::Bound;
use node::tunnel::{AesRule, CounterLimits, TunnelLimits};
use tokio::signal::unix::{SignalKind, signal};

const VARIABLE: &str = "CRYPRQD_LAB";
const DIES: &str = "dies:";
/// Messages under one key before it is replaced.
const MESSAGES: u64 = 8;

/// The step that it does not outlive.
fn last_step() -> anyhow::Result<Option<usize>> {
    let value = std::env::var(VARIABLE).unwrap_or_default();
    value.strip_prefix(DIES).map(|number| number.parse().context("dies at which step?")).transpose()
}

/// Counts the steps, and kills this process at the last one as nothing else could.
fn dies_at(last: usize) -> Step {
    let steps = AtomicUsize::new(0);
    Arc::new(move || {
        if steps.fetch_add(1, Ordering::Relaxed) + 1 == last {
            let _ = nix::sys::signal::raise(nix::sys::signal::Signal::SIGKILL);
        }
    })
}

fn main() -> anyhow::Result<()> {
    os::heap::map_large_blocks();
    os::harden::at_start()?;
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let [_, file, _, runtime_dir] = &arguments[..] else { bail!("usage: --config FILE --runtime-dir FOLDER") };
    let limits = match std::env::var(VARIABLE).ok().as_deref() {
        None => restless(),
        Some("eager") => TunnelLimits { burst: u32::MAX, ..TunnelLimits::default() },
        Some("chacha") => TunnelLimits { aes: AesRule::Never, ..TunnelLimits::default() },
        Some(dies) if dies.starts_with(DIES) => TunnelLimits::default(),
        Some(other) => bail!("{VARIABLE} is {other}, not eager or chacha"),
    };
    let config = Config::load(Path::new(file))?;
    let log = logging::start(&config.log_level);
    let prepared = run::prepare(config, Path::new(file), Path::new(runtime_dir))?;
    let prepared = match last_step()? {
        None => prepared,
        Some(last) => prepared.watched_by(dies_at(last)),
    };
    os::harden::drop_capabilities().context("cannot give up rights")?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    runtime.block_on(async {
        let mut fault = signal(SignalKind::user_defined1())?;
        tokio::spawn(async move {
            fault.recv().await;
            panic!("a payload that nobody may read");
        });
        run::run(prepared, limits, log).await
    })
}

/// A rotation after each few messages, however fast they follow each other.
fn restless() -> TunnelLimits {
    let never = Bound { soft: u64::MAX / 2, hard: u64::MAX / 2 };
    let counters =
        CounterLimits { messages: Bound { soft: MESSAGES, hard: 1 << 30 }, bytes: never, failed_opens: never };
    TunnelLimits { counters: Some(counters), burst: u32::MAX, ..TunnelLimits::default() }
}
