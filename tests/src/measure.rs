//! Measuring pieces of work against each other in one run.

use std::time::Duration;

/// Does each piece of work `rounds` times, in turns, and gives the median of the times that each says it took, in
/// nanoseconds. What a machine does beside it then falls on all of them alike.
pub fn by_turns<const N: usize>(rounds: usize, work: [&mut dyn FnMut() -> Duration; N]) -> [f64; N] {
    let mut times = [const { Vec::new() }; N];
    for round in 0..rounds {
        for at in 0..N {
            // Another one begins each round, so that none always runs behind the same neighbour.
            let at = (at + round) % N;
            times[at].push(work[at]());
        }
    }
    times.map(median)
}

/// The median in nanoseconds; zero of nothing.
pub fn median(mut times: Vec<Duration>) -> f64 {
    times.sort_unstable();
    times.get(times.len() / 2).map_or(0.0, |time| time.as_nanos() as f64)
}

/// Prints a figure beside its bar.
pub fn report(what: &str, figure: f64, bar: f64, unit: &str) {
    let verdict = if figure <= bar { "" } else { "  MISSED" };
    println!("{what:<52} {figure:>9.2} {unit:<3} (bar {bar} {unit}){verdict}");
}

/// The same for a figure that is to be no less than its bar.
pub fn report_least(what: &str, figure: f64, bar: f64, unit: &str) {
    let verdict = if figure >= bar { "" } else { "  MISSED" };
    println!("{what:<52} {figure:>9.2} {unit:<3} (bar at least {bar} {unit}){verdict}");
}

/// The median of figures; zero of nothing. Of an even number it is the mean of the two in the middle.
pub fn middle(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    let at = figures.len() / 2;
    match (figures.get(at), figures.len() % 2) {
        (None, _) => 0.0,
        (Some(&above), 0) => f64::midpoint(figures[at - 1], above),
        (Some(&figure), _) => figure,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_piece_has_the_median_of_its_own_times() {
        let mut rising = (1..).map(Duration::from_nanos);
        let mut calls = 0;
        let mut first = || rising.next().unwrap_or_default();
        let mut second = || {
            calls += 1;
            Duration::from_nanos(100)
        };
        assert_eq!(by_turns(5, [&mut first, &mut second]), [3.0, 100.0]);
        assert_eq!(calls, 5);
    }

    #[test]
    fn the_median_stands_in_the_middle() {
        assert_eq!(middle(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(middle(vec![4.0, 1.0, 2.0, 3.0]), 2.5);
        assert_eq!(middle(Vec::new()), 0.0);
    }
}
