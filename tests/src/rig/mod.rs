//! The bench rig: VPNs between two hosts of the lab, measured side by side in one run. `tests/benches/peers` is the
//! command.
//!
//! A [`Site`] is two hosts and the cable between them; a [`Contender`] brings a VPN up at both ends; [`measure`] drives
//! traffic through it; a [`Report`] sets the medians beside each other and beside the bars.

mod contenders;
mod measures;
mod report;
mod site;

pub use contenders::{Available, Contender, Cryprqd, Programs, Raw, Role, Running, WIREGUARD_GO, all};
pub use measures::{Figures, Measure, Plan, beside, flood, measure, profile, rotation};
pub use report::{Bar, Outcome, Report, Verdict, bars};
pub use site::{Cores, Side, Site};
