//! Spans, sizes and rates in the unit that fits.

use jiff::Timestamp;

/// A span, as precise as a person wants it.
pub(super) fn span(ms: u64) -> String {
    let in_units = |unit: u64| ms / unit + u64::from(ms % unit >= unit / 2);
    match ms {
        0..1000 => format!("{ms} ms"),
        1000..119_500 => format!("{} s", in_units(1000)),
        119_500..7_170_000 => format!("{} min", in_units(60_000)),
        7_170_000..171_000_000 => format!("{} h", in_units(3_600_000)),
        _ => format!("{} days", in_units(86_400_000)),
    }
}

/// How long ago that was.
pub(super) fn ago(ms: Option<u64>) -> String {
    ms.map_or_else(|| "never".into(), |ms| format!("{} ago", span(ms)))
}

/// When an RFC 3339 time is or was, seen from now; a time that is not understood stays as it is.
pub(crate) fn moment(time: &str) -> String {
    moment_from(time, Timestamp::now())
}

fn moment_from(time: &str, now: Timestamp) -> String {
    let Ok(then) = time.parse::<Timestamp>() else { return time.to_owned() };
    let ms = u64::try_from(then.duration_since(now).abs().as_millis()).unwrap_or(u64::MAX);
    if then > now { format!("for {}", span(ms)) } else { format!("{} ago", span(ms)) }
}

/// A count of bytes.
pub(super) fn bytes(count: u64) -> String {
    scaled(count, 1024.0, &["B", "KiB", "MiB", "GiB", "TiB"])
}

/// Bits a second.
pub(super) fn rate(bits: u64) -> String {
    scaled(bits, 1000.0, &["bit/s", "kbit/s", "Mbit/s", "Gbit/s", "Tbit/s"])
}

fn scaled(count: u64, step: f64, units: &[&str]) -> String {
    let mut value = count as f64;
    let mut unit = units[0];
    for larger in &units[1..] {
        // What would be shown as a whole step belongs to the larger unit.
        if value < step - 0.05 {
            break;
        }
        value /= step;
        unit = larger;
    }
    if unit == units[0] { format!("{count} {unit}") } else { format!("{value:.1} {unit}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_sizes_and_rates_have_the_unit_that_fits() {
        let spans = [900, 1499, 119_499, 119_500, 599_990, 7_200_000, 172_800_000].map(span);
        assert_eq!(spans, ["900 ms", "1 s", "119 s", "2 min", "10 min", "2 h", "2 days"]);
        assert_eq!(span(u64::MAX), "213503982335 days");
        assert_eq!([0, 1023, 1024, 1_048_570, 5 << 40].map(bytes), ["0 B", "1023 B", "1.0 KiB", "1.0 MiB", "5.0 TiB"]);
        assert_eq!([0, 999, 1000, 12_345_678].map(rate), ["0 bit/s", "999 bit/s", "1.0 kbit/s", "12.3 Mbit/s"]);
    }

    #[test]
    fn times_are_told_from_now() {
        let now = "2026-01-01T00:10:00Z".parse().unwrap();
        assert_eq!(moment_from("2026-01-01T00:19:30Z", now), "for 10 min");
        assert_eq!(moment_from("2026-01-01T00:09:00Z", now), "60 s ago");
        assert_eq!(moment_from("soon", now), "soon");
    }
}
