//! The bench rig measures: seconds only, and only that figures come; what they are is the bench's business.

use anyhow::{Result, ensure};
use cryprq_tests::rig::{Contender, Cores, Cryprqd, Measure, Plan, Programs, Raw, Site, beside, measure};
use node::epoch::Cipher;
use os::processor::has_aes;

/// Two hosts, or `None` with a line that says why this machine has none.
fn site() -> Option<Site> {
    Site::new(Cores::Apart).inspect_err(|error| println!("skipped: the bench rig: {error:#}")).ok()
}

#[test]
fn the_rig_measures_the_cable_without_a_vpn() -> Result<()> {
    let Some(site) = site() else { return Ok(()) };
    if Programs::default().find("iperf3").is_none() {
        println!("skipped: the bench rig: there is no iperf3");
        return Ok(());
    }
    let running = Raw.start(&site)?;
    running.wait(&site)?;
    let plan = Plan { seconds: 1 };
    let (mut figures, wrong) = measure(&site, &running, plan, |_| {});
    ensure!(wrong.is_empty(), "{wrong:?}");
    figures.extend(beside((&site, &running), (&site, &running), plan)?);
    for measure in [
        Measure::Tcp1,
        Measure::Tcp1Back,
        Measure::Tcp4,
        Measure::Tcp4Back,
        Measure::Udp64,
        Measure::Udp1200,
        Measure::IdleP50,
        Measure::LoadedP99,
        Measure::Tcp1ByLoop,
        Measure::IdleByLoop,
        Measure::Udp64ByLoop,
    ] {
        ensure!(figures.get(&measure).is_some_and(|figure| *figure > 0.0), "{measure:?} in {figures:?}");
    }
    ensure!(figures[&Measure::IdleP50] <= figures[&Measure::IdleP99], "{figures:?}");
    ensure!(!figures.contains_key(&Measure::RssA), "there is no process: {figures:?}");
    Ok(())
}

#[test]
fn two_daemons_of_which_none_announces_aes_agree_on_the_other_cipher() -> Result<()> {
    let Some(site) = site() else { return Ok(()) };
    // The contender itself looks at what was agreed on.
    let running = Cryprqd::new(Cipher::ChaCha20Poly1305).start(&site)?;
    running.wait(&site)
}

#[test]
fn two_shipped_daemons_agree_on_aes_where_the_processor_has_it() -> Result<()> {
    if !has_aes() {
        println!("skipped: AES-256-GCM between two daemons: this processor has it not in hardware");
        return Ok(());
    }
    let Some(site) = site() else { return Ok(()) };
    // The contender itself looks at what was agreed on.
    let running = Cryprqd::new(Cipher::Aes256Gcm).start(&site)?;
    running.wait(&site)
}
