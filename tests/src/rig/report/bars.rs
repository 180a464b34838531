//! The bars of docs/dataplane.md.

use node::epoch::Cipher;
use serde::Serialize;

use super::{CIPHERS, Report};
use crate::rig::contenders::{Programs, Role, all};
use crate::rig::measures::Measure;

/// One bar and what was measured.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Bar {
    /// What is measured.
    pub what: String,
    /// The bound as it is read.
    pub bar: String,
    /// The figure, in the bound's unit; none if something was not measured.
    pub figure: Option<f64>,
    /// What it comes to.
    pub verdict: Verdict,
}

/// Whether a bar is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It is.
    Passed,
    /// It is not.
    Missed,
    /// Something that it needs was not measured.
    NotMeasured,
}

/// A bound.
#[derive(Clone, Copy)]
enum Bound {
    AtLeast(f64),
    Above(f64),
    AtMost(f64),
}

impl Bar {
    fn new(what: impl Into<String>, bound: Bound, unit: &str, figure: Option<f64>) -> Self {
        let (sign, limit) = match bound {
            Bound::AtLeast(limit) => ("≥", limit),
            Bound::Above(limit) => (">", limit),
            Bound::AtMost(limit) => ("≤", limit),
        };
        let kept = figure.map(|figure| match bound {
            Bound::AtLeast(limit) => figure >= limit,
            Bound::Above(limit) => figure > limit,
            Bound::AtMost(limit) => figure <= limit,
        });
        let verdict = match kept {
            Some(true) => Verdict::Passed,
            Some(false) => Verdict::Missed,
            None => Verdict::NotMeasured,
        };
        Self { what: what.into(), bar: format!("{sign} {limit} {unit}").trim_end().to_owned(), figure, verdict }
    }
}

/// Every bar.
pub fn bars(report: &Report) -> Vec<Bar> {
    let mut bars: Vec<Bar> = CIPHERS.into_iter().flat_map(|cipher| of_cipher(report, cipher)).collect();
    let lost = report.own(Measure::RotationLost);
    bars.push(Bar::new("rotation each second: packets lost", Bound::AtMost(0.0), "", lost));
    let throughput = report.own(Measure::RotationThroughput);
    bars.push(Bar::new("rotation each second: throughput", Bound::AtLeast(0.98), "× without", throughput));
    let flood = report.own(Measure::FloodThroughput);
    bars.push(Bar::new("100 000 garbage frames a second: throughput", Bound::AtLeast(0.8), "× unused port", flood));
    bars
}

fn of_cipher(report: &Report, cipher: Cipher) -> Vec<Bar> {
    let (by_wireguard, seconds) = match cipher {
        Cipher::ChaCha20Poly1305 => (7.0, 2.6),
        Cipher::Aes256Gcm => (11.0, 1.5),
    };
    let own = |measure| report.of(Role::Own(cipher), measure);
    let by_rival = ratio(own(Measure::Udp64), best_of_all_rivals(report, Measure::Udp64));
    let memory = own(Measure::RssA).zip(own(Measure::RssB)).map(|(a, b)| a.max(b));
    let milliseconds = |measure| own(measure).map(|microseconds| microseconds / 1000.0);
    let wireguard = ratio(own(Measure::Tcp1), report.wireguard_go(Measure::Tcp1));
    [
        ("TCP, 1 stream", Bound::AtLeast(by_wireguard), "× wireguard-go", wireguard),
        ("TCP, 1 stream", Bound::AtLeast(0.85), "× bare loop", own(Measure::Tcp1ByLoop)),
        ("VPN CPU per GB", Bound::AtMost(seconds), "s", own(Measure::CpuPerGb)),
        ("64-byte packets", Bound::AtLeast(0.85), "× bare loop", own(Measure::Udp64ByLoop)),
        ("64-byte packets", Bound::Above(1.0), "× best rival", by_rival),
        ("idle p50", Bound::AtMost(1.1), "× bare loop", own(Measure::IdleByLoop)),
        ("loaded p50", Bound::AtMost(1.5), "ms", milliseconds(Measure::LoadedP50)),
        ("loaded p99", Bound::AtMost(5.0), "ms", milliseconds(Measure::LoadedP99)),
        ("peak RSS of the larger end", Bound::AtMost(20.0), "MiB", memory),
    ]
    .map(|(what, bound, unit, figure)| Bar::new(format!("{}: {what}", cipher.name()), bound, unit, figure))
    .into()
}

/// The best rival's figure, if every rival has one: to be better than some of them is not the bar.
fn best_of_all_rivals(report: &Report, measure: Measure) -> Option<f64> {
    let has = |name| report.contenders.iter().any(|one| one.name == name && one.median(measure).is_some());
    let contenders = all(&Programs::default());
    let mut rivals = contenders.iter().filter(|one| one.role() == Role::Rival);
    rivals.all(|rival| has(rival.name())).then(|| report.best_rival(measure).map(|(_, figure)| figure))?
}

pub(super) fn ratio(figure: Option<f64>, by: Option<f64>) -> Option<f64> {
    figure.zip(by).filter(|(_, by)| *by > 0.0).map(|(figure, by)| figure / by)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{outcome, report};
    use super::*;

    fn verdicts(own: f64, by_loop: f64, wireguard: f64) -> Vec<Verdict> {
        let cipher = Cipher::ChaCha20Poly1305;
        let report = report(vec![
            outcome("own", Role::Own(cipher), &[(Measure::Tcp1, own), (Measure::Tcp1ByLoop, by_loop)]),
            outcome("wireguard-go", Role::Rival, &[(Measure::Tcp1, wireguard)]),
        ]);
        bars(&report).iter().take(2).map(|bar| bar.verdict).collect()
    }

    #[test]
    fn throughput_is_compared_with_wireguard_and_the_bare_loop() {
        assert_eq!(verdicts(4.2, 0.86, 0.6), [Verdict::Passed, Verdict::Passed]);
        assert_eq!(verdicts(4.2, 0.84, 0.61), [Verdict::Missed, Verdict::Missed]);
    }

    #[test]
    fn what_was_not_measured_is_not_passed() {
        assert!(bars(&report(Vec::new())).iter().all(|bar| bar.verdict == Verdict::NotMeasured));
    }

    #[test]
    fn the_best_rival_is_known_when_all_of_them_were_measured() {
        const RIVALS: [&str; 6] = ["wireguard-go", "boringtun", "quincy", "quincy-pq", "openvpn-chacha", "openvpn-aes"];
        let verdict = |rivals: &[&str], best: f64| {
            let own = Role::Own(Cipher::ChaCha20Poly1305);
            let mut outcomes = vec![outcome("own", own, &[(Measure::Udp64, 100.0)])];
            outcomes.extend(rivals.iter().map(|name| outcome(name, Role::Rival, &[(Measure::Udp64, 50.0)])));
            if let Some(last) = outcomes.last_mut() {
                last.runs.iter_mut().for_each(|run| _ = run.insert(Measure::Udp64, best));
            }
            let bars = bars(&report(outcomes));
            bars.iter().find(|bar| bar.bar == "> 1 × best rival").map(|bar| bar.verdict)
        };
        assert_eq!(verdict(&RIVALS, 99.0), Some(Verdict::Passed));
        assert_eq!(verdict(&RIVALS, 100.0), Some(Verdict::Missed));
        for missing in 0..RIVALS.len() {
            let others = [&RIVALS[..missing], &RIVALS[missing + 1..]].concat();
            assert_eq!(verdict(&others, 99.0), Some(Verdict::NotMeasured), "without {}", RIVALS[missing]);
        }
    }

    /// So that neither side has a bar, or a number, that the other does not know.
    #[test]
    fn the_document_s_table_is_what_is_judged() {
        let document = include_str!("../../../../docs/dataplane.md");
        let section = document.split("\n## Bars\n").nth(1).expect("the section");
        let rows = section.lines().filter(|line| line.starts_with('|')).skip(2);
        let mut told = Vec::new();
        for row in rows {
            let [what, chacha, aes] = row.split('|').map(str::trim).collect::<Vec<_>>()[1..4] else {
                panic!("{row}");
            };
            let of_ciphers = CIPHERS.map(Cipher::name).map(|name| format!("{name}: {what}"));
            match aes {
                "" => told.push((what.to_owned(), chacha.to_owned())),
                _ => told.extend(of_ciphers.into_iter().zip([chacha, aes].map(str::to_owned))),
            }
        }
        let mut judged: Vec<_> = bars(&report(Vec::new())).into_iter().map(|bar| (bar.what, bar.bar)).collect();
        told.sort();
        judged.sort();
        assert_eq!(told, judged);
    }

    #[test]
    fn the_larger_end_has_to_be_small_enough() {
        let memory = |a, b| {
            let figures = [(Measure::RssA, a), (Measure::RssB, b)];
            let report = report(vec![outcome("own", Role::Own(Cipher::Aes256Gcm), &figures)]);
            let bars = bars(&report);
            bars.iter().find(|bar| bar.what == "aes-256-gcm: peak RSS of the larger end").map(|bar| bar.verdict)
        };
        assert_eq!(memory(19.0, 20.0), Some(Verdict::Passed));
        assert_eq!(memory(21.0, 10.0), Some(Verdict::Missed));
    }
}
