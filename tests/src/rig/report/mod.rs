//! The figures of all runs, their medians, and what they mean.

mod bars;
mod table;

pub use bars::{Bar, Verdict, bars};

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};

use super::contenders::{Role, WIREGUARD_GO};
use super::measures::{Figures, Measure, Plan};
use crate::measure::middle;
use node::epoch::Cipher;

/// Everything that came of one command.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Processor, cores, kernel.
    pub machine: String,
    /// Seconds since 1970 at the end.
    pub time: u64,
    /// How long was measured.
    pub plan: Plan,
    /// In the order of the table.
    pub contenders: Vec<Outcome>,
    /// What is measured of our daemon alone: rotations and garbage, one entry a run.
    pub own: Vec<Figures>,
    /// What could not be taken of our daemon alone.
    pub wrong: Vec<String>,
}

/// What came of one contender.
#[derive(Debug, Serialize)]
pub struct Outcome {
    /// Its name.
    pub name: String,
    /// What it is compared as.
    #[serde(serialize_with = "role")]
    pub role: Role,
    /// Its version; none if it could not be run.
    pub version: Option<String>,
    /// One entry a run.
    pub runs: Vec<Figures>,
    /// Why it was not run, or what could not be taken.
    pub wrong: Vec<String>,
}

fn role<S: Serializer>(role: &Role, to: S) -> Result<S::Ok, S::Error> {
    match role {
        Role::Ceiling => to.serialize_str("ceiling"),
        Role::Bare(cipher) => to.serialize_str(&format!("bare loop, {}", cipher.name())),
        Role::Own(cipher) => to.serialize_str(&format!("cryprqd, {}", cipher.name())),
        Role::Fallback => to.serialize_str("cryprqd, fallback"),
        Role::Rival => to.serialize_str("rival"),
    }
}

impl Outcome {
    /// The median of a measure; none if no run has it.
    pub fn median(&self, measure: Measure) -> Option<f64> {
        median(&self.runs, measure)
    }
}

fn median(runs: &[Figures], measure: Measure) -> Option<f64> {
    let figures: Vec<f64> = runs.iter().filter_map(|run| run.get(&measure).copied()).collect();
    (!figures.is_empty()).then(|| middle(figures))
}

impl Report {
    /// The median of a measure of our daemon alone.
    pub fn own(&self, measure: Measure) -> Option<f64> {
        median(&self.own, measure)
    }

    /// The median of whoever has a role.
    pub fn of(&self, role: Role, measure: Measure) -> Option<f64> {
        self.contenders.iter().find(|outcome| outcome.role == role)?.median(measure)
    }

    /// The median of Debian's wireguard-go.
    pub fn wireguard_go(&self, measure: Measure) -> Option<f64> {
        self.contenders.iter().find(|outcome| outcome.name == WIREGUARD_GO)?.median(measure)
    }

    /// The best rival in a measure, and its figure.
    pub fn best_rival(&self, measure: Measure) -> Option<(&str, f64)> {
        let rivals = self.contenders.iter().filter(|outcome| outcome.role == Role::Rival);
        let figures = rivals.filter_map(|outcome| Some((outcome.name.as_str(), outcome.median(measure)?)));
        match measure.better() {
            Better::More => figures.max_by(|(_, a), (_, b)| a.total_cmp(b)),
            Better::Less => figures.min_by(|(_, a), (_, b)| a.total_cmp(b)),
        }
    }

    /// The whole report as JSON, with medians and verdicts.
    ///
    /// # Errors
    /// Never for figures that were measured.
    pub fn json(&self) -> serde_json::Result<String> {
        let medians = |runs: &[Figures]| {
            let measures = runs.iter().flat_map(|run| run.keys().copied());
            measures.filter_map(|measure| Some((measure, median(runs, measure)?))).collect::<Figures>()
        };
        let all: BTreeMap<&str, Figures> =
            self.contenders.iter().map(|outcome| (outcome.name.as_str(), medians(&outcome.runs))).collect();
        let mut whole = serde_json::to_value(self)?;
        whole["medians"] = serde_json::to_value(all)?;
        whole["own_medians"] = serde_json::to_value(medians(&self.own))?;
        whole["bars"] = serde_json::to_value(bars(self))?;
        serde_json::to_string_pretty(&whole)
    }
}

/// Which of two figures is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Better {
    /// The larger.
    More,
    /// The smaller.
    Less,
}

impl Measure {
    pub(super) const fn better(self) -> Better {
        match self {
            Self::Tcp1
            | Self::Tcp1Back
            | Self::Tcp4
            | Self::Tcp4Back
            | Self::Udp64
            | Self::Udp1200
            | Self::Tcp1ByLoop
            | Self::Udp64ByLoop
            | Self::RotationThroughput
            | Self::FloodThroughput => Better::More,
            Self::CpuPerGb
            | Self::IdleP50
            | Self::IdleP99
            | Self::LoadedP50
            | Self::LoadedP99
            | Self::RssA
            | Self::RssB
            | Self::IdleByLoop
            | Self::RotationLost
            | Self::OtherWork => Better::Less,
        }
    }
}

/// The ciphers that our daemon is measured with.
pub(super) const CIPHERS: [Cipher; 2] = [Cipher::ChaCha20Poly1305, Cipher::Aes256Gcm];

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A contender with the same figures in each run.
    pub(in crate::rig) fn outcome(name: &str, role: Role, figures: &[(Measure, f64)]) -> Outcome {
        let runs = vec![figures.iter().copied().collect(); 3];
        Outcome { name: name.to_owned(), role, version: Some("1".to_owned()), runs, wrong: Vec::new() }
    }

    pub(in crate::rig) fn report(contenders: Vec<Outcome>) -> Report {
        let plan = Plan { seconds: 4 };
        Report { machine: "a machine".to_owned(), time: 0, plan, contenders, own: Vec::new(), wrong: Vec::new() }
    }

    #[test]
    fn the_best_rival_is_the_one_with_the_better_figure() {
        let figures = |gbits, microseconds| [(Measure::Tcp1, gbits), (Measure::IdleP50, microseconds)];
        let report = report(vec![
            outcome("raw", Role::Ceiling, &figures(20.0, 10.0)),
            outcome("one", Role::Rival, &figures(1.0, 100.0)),
            outcome("two", Role::Rival, &figures(2.0, 200.0)),
        ]);
        assert_eq!(report.best_rival(Measure::Tcp1), Some(("two", 2.0)));
        assert_eq!(report.best_rival(Measure::IdleP50), Some(("one", 100.0)));
        assert_eq!(report.best_rival(Measure::Udp64), None);
    }

    #[test]
    fn a_run_that_lacks_a_figure_leaves_the_median_to_the_others() {
        let mut outcome = outcome("one", Role::Rival, &[(Measure::Tcp1, 1.0)]);
        outcome.runs[0].clear();
        outcome.runs[1].insert(Measure::Tcp1, 3.0);
        assert_eq!(outcome.median(Measure::Tcp1), Some(2.0));
    }

    #[test]
    fn the_json_holds_runs_medians_and_bars() {
        let mut report = report(vec![outcome("one", Role::Rival, &[(Measure::Tcp1, 1.5)])]);
        report.own.push([(Measure::RotationLost, 0.0)].into());
        let json: serde_json::Value = serde_json::from_str(&report.json().unwrap()).unwrap();
        assert_eq!(json["contenders"][0]["runs"][2]["tcp1"], 1.5);
        assert_eq!(json["contenders"][0]["role"], "rival");
        assert_eq!(json["medians"]["one"]["tcp1"], 1.5);
        assert_eq!(json["own_medians"]["rotation_lost"], 0.0);
        let bars = json["bars"].as_array().unwrap();
        let lost = bars.iter().find(|bar| bar["what"].as_str().unwrap().contains("lost")).unwrap();
        assert_eq!(lost["verdict"], "passed");
    }
}
