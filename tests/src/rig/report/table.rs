//! The report as tables that are both Markdown and readable as they are.

use std::fmt::{self, Display, Formatter};

use super::bars::{Bar, Verdict, bars, ratio};
use super::{CIPHERS, Report};
use crate::rig::contenders::Role;
use crate::rig::measures::Measure;

const NOTHING: &str = "–";

impl Display for Report {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let runs = self.contenders.iter().map(|outcome| outcome.runs.len()).max().unwrap_or_default();
        writeln!(f, "{}; medians of {runs}, {} s each\n", self.machine, self.plan.seconds)?;
        f.write_str(&table(&self.figures()))?;
        f.write_str("\n")?;
        f.write_str(&table(&self.ratios()))?;
        f.write_str("\n")?;
        f.write_str(&table(&verdicts(&bars(self))))?;
        let versions = self.contenders.iter().filter_map(|o| Some(format!("{}: {}", o.name, o.version.as_ref()?)));
        writeln!(f, "\n{}", versions.collect::<Vec<_>>().join(" · "))?;
        for (name, wrong) in self.contenders.iter().flat_map(|o| o.wrong.iter().map(|wrong| (o.name.as_str(), wrong))) {
            writeln!(f, "{name}: {wrong}")?;
        }
        self.wrong.iter().try_for_each(|wrong| writeln!(f, "cryprqd: {wrong}"))
    }
}

impl Report {
    /// A row for each contender.
    fn figures(&self) -> Vec<Vec<String>> {
        let head = [
            "",
            "TCP 1 → Gbit/s",
            "←",
            "TCP 4 →",
            "←",
            "CPU s/GB",
            "64 B kpps",
            "1200 B kpps",
            "idle p50/p99 µs",
            "loaded p50/p99 µs",
            "RSS MiB",
            "other work %",
        ];
        let mut rows = vec![head.map(str::to_owned).to_vec()];
        for outcome in &self.contenders {
            let figure = |measure: Measure, digits| text(outcome.median(measure), digits);
            let pair = |a, b, digits| {
                if outcome.median(a).is_none() {
                    NOTHING.to_owned()
                } else {
                    figure(a, digits) + "/" + &figure(b, digits)
                }
            };
            rows.push(vec![
                outcome.name.clone(),
                figure(Measure::Tcp1, 2),
                figure(Measure::Tcp1Back, 2),
                figure(Measure::Tcp4, 2),
                figure(Measure::Tcp4Back, 2),
                figure(Measure::CpuPerGb, 2),
                figure(Measure::Udp64, 0),
                figure(Measure::Udp1200, 0),
                pair(Measure::IdleP50, Measure::IdleP99, 0),
                pair(Measure::LoadedP50, Measure::LoadedP99, 0),
                pair(Measure::RssA, Measure::RssB, 0),
                figure(Measure::OtherWork, 0),
            ]);
        }
        rows
    }

    /// Our daemon by the bare loop, and by the best rival.
    fn ratios(&self) -> Vec<Vec<String>> {
        const MEASURES: [(Measure, &str); 11] = [
            (Measure::Tcp1, "TCP 1 →"),
            (Measure::Tcp1Back, "TCP 1 ←"),
            (Measure::Tcp4, "TCP 4 →"),
            (Measure::Tcp4Back, "TCP 4 ←"),
            (Measure::CpuPerGb, "CPU per GB"),
            (Measure::Udp64, "64 B packets"),
            (Measure::Udp1200, "1200 B packets"),
            (Measure::IdleP50, "idle p50"),
            (Measure::IdleP99, "idle p99"),
            (Measure::LoadedP50, "loaded p50"),
            (Measure::LoadedP99, "loaded p99"),
        ];
        let mut head = vec!["cryprqd".to_owned()];
        head.extend(CIPHERS.iter().flat_map(|c| ["bare loop", "best rival"].map(|by| format!("{} ÷ {by}", c.name()))));
        head.push("best rival".to_owned());
        let row = |(measure, name): (Measure, &str)| {
            let rival = self.best_rival(measure);
            let mut row = vec![name.to_owned()];
            for cipher in CIPHERS {
                let own = self.of(Role::Own(cipher), measure);
                row.push(text(ratio(own, self.of(Role::Bare(cipher), measure)), 2));
                row.push(text(ratio(own, rival.map(|(_, figure)| figure)), 2));
            }
            row.push(rival.map_or(NOTHING, |(name, _)| name).to_owned());
            row
        };
        std::iter::once(head).chain(MEASURES.map(row)).collect()
    }
}

fn verdicts(bars: &[Bar]) -> Vec<Vec<String>> {
    let head = ["", "bar", "measured", "verdict"].map(str::to_owned).to_vec();
    let row = |bar: &Bar| {
        let verdict = match bar.verdict {
            Verdict::Passed => "passed",
            Verdict::Missed => "MISSED",
            Verdict::NotMeasured => "not measured",
        };
        vec![bar.what.clone(), bar.bar.clone(), text(bar.figure, 2), verdict.to_owned()]
    };
    std::iter::once(head).chain(bars.iter().map(row)).collect()
}

fn text(figure: Option<f64>, digits: usize) -> String {
    figure.map_or_else(|| NOTHING.to_owned(), |figure| format!("{figure:.digits$}"))
}

/// Rows, the first of which is the head, with columns of equal width.
fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.first().map_or(0, Vec::len);
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let line = |row: &[String]| {
        let cells =
            row.iter().zip(&widths).enumerate().map(|(at, (cell, &width))| {
                if at == 0 { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
            });
        format!("| {} |\n", cells.collect::<Vec<_>>().join(" | "))
    };
    let rule: Vec<String> =
        widths.iter().enumerate().map(|(at, &width)| "-".repeat(width + 1) + if at == 0 { "-" } else { ":" }).collect();
    let mut lines = rows.iter().map(|row| line(row));
    lines.next().unwrap_or_default() + &format!("|{}|\n", rule.join("|")) + &lines.collect::<String>()
}

#[cfg(test)]
mod tests {
    use node::epoch::Cipher;

    use super::super::tests::{outcome, report};
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [["", "µs"], ["raw", "7"], ["a", "1234"]].map(|row| row.map(str::to_owned).to_vec());
        assert_eq!(table(&rows), "|     |   µs |\n|-----|-----:|\n| raw |    7 |\n| a   | 1234 |\n");
    }

    #[test]
    fn what_was_not_measured_is_a_dash_and_the_reason_stands_below() {
        let mut missing = outcome("openvpn", Role::Rival, &[]);
        missing.version = None;
        missing.wrong.push("there is no openvpn".to_owned());
        let own = outcome("cryprqd-aes", Role::Own(Cipher::Aes256Gcm), &[(Measure::Tcp1, 8.0)]);
        let bare = outcome("bare-aes", Role::Bare(Cipher::Aes256Gcm), &[(Measure::Tcp1, 10.0)]);
        let told = report(vec![bare, own, missing]).to_string();
        assert!(told.contains("\nopenvpn: there is no openvpn\n"), "{told}");
        let row = |begin: &str| told.lines().find(|line| line.starts_with(begin)).unwrap().to_owned();
        assert!(row("| openvpn").matches(NOTHING).count() == 11, "{told}");
        assert!(row("| TCP 1 →").contains("0.80"), "{told}");
        assert!(row("| aes-256-gcm: TCP, 1 stream").contains("not measured"), "{told}");
    }
}
