//! The clock that counts sleep (protocol.md 8).

use nix::time::{ClockId, clock_gettime};
use node::time::Time;

/// `CLOCK_BOOTTIME` on Linux, `CLOCK_MONOTONIC_RAW` on macOS: monotonic, and it goes on while the machine sleeps.
#[cfg(target_os = "linux")]
const CLOCK: ClockId = ClockId::CLOCK_BOOTTIME;
#[cfg(target_os = "macos")]
// `nix` does not name it on this system.
const CLOCK: ClockId = ClockId::from_raw(libc::CLOCK_MONOTONIC_RAW);

/// Now, since the machine started.
pub fn boottime() -> Time {
    let now = clock_gettime(CLOCK).expect("both systems have had this clock for longer than they can run this code");
    let seconds = u64::try_from(now.tv_sec()).unwrap_or(0);
    let nanos = u64::try_from(now.tv_nsec()).unwrap_or(0);
    Time::from_nanos(seconds.saturating_mul(1_000_000_000).saturating_add(nanos))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_never_goes_back() {
        let first = boottime();
        assert!(first > Time::ZERO && boottime() >= first);
    }
}
