//! The bill of materials and the licences that the packages hold.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use cryprq_tests::repository::root;
use serde_json::Value;

const TARGETS: [&str; 3] = ["x86_64-unknown-linux-gnu", "aarch64-apple-darwin", "x86_64-apple-darwin"];

/// Both files, for some targets; `None` with a line that says why where there is no Python.
fn inventory(folder: &Path, targets: &[&str]) -> Result<Option<(String, String)>> {
    let mut command = Command::new(root().join("installer/inventory"));
    let output = match command.arg(folder).args(targets).env("SOURCE_DATE_EPOCH", "1795000000").output() {
        Ok(output) => output,
        Err(error) => {
            println!("skipped: the bill of materials: no python3: {error}");
            return Ok(None);
        }
    };
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let read = |name: &str| fs::read_to_string(folder.join(name)).with_context(|| name.to_owned());
    Ok(Some((read("cryprq.cdx.json")?, read("third-party.txt")?)))
}

fn printed(command: &mut Command) -> Result<String> {
    let output = command.output()?;
    ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}

fn list<'v>(value: &'v Value, key: &str) -> &'v [Value] {
    value[key].as_array().map_or(&[], Vec::as_slice)
}

fn text<'v>(value: &'v Value, key: &str) -> &'v str {
    value[key].as_str().unwrap_or_default()
}

#[test]
fn the_bill_of_materials_names_what_is_linked_with_the_checksums_of_the_lock_file() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let Some((bill, licences)) = inventory(folder.path(), &TARGETS[..1])? else { return Ok(()) };
    let bill: Value = serde_json::from_str(&bill)?;
    ensure!((text(&bill, "bomFormat"), text(&bill, "specVersion")) == ("CycloneDX", "1.5"));
    ensure!(text(&bill["metadata"], "timestamp") == "2026-11-18T11:06:40Z", "{}", bill["metadata"]);
    let lock: toml::Table = fs::read_to_string(root().join("Cargo.lock"))?.parse()?;
    let locked = lock["package"].as_array().context("packages")?;
    let field = |package: &toml::Value, key: &str| package.get(key).and_then(toml::Value::as_str).map(str::to_owned);
    let locked: BTreeMap<(Option<String>, Option<String>), Option<String>> = locked
        .iter()
        .map(|package| ((field(package, "name"), field(package, "version")), field(package, "checksum")))
        .collect();
    let components = list(&bill, "components");
    let rustc = printed(Command::new("rustc").arg("-vV").current_dir(root()))?;
    let library = rustc.lines().find_map(|line| line.strip_prefix("release: ")).context("a version")?;
    // Rust's own library is in no lock file; it comes with the compiler.
    let (standard, packages): (Vec<_>, Vec<_>) =
        components.iter().partition(|component| text(component, "name") == "std");
    let [standard] = standard[..] else { anyhow::bail!("the standard library is named {} times", standard.len()) };
    ensure!(text(standard, "purl") == format!("pkg:generic/std@{library}"), "{standard}");
    ensure!(licences.contains(&format!("\n  std {library} (MIT OR Apache-2.0), ")), "no licence of Rust's library");
    for component in packages {
        let (name, version) = (text(component, "name"), text(component, "version"));
        let known = locked.get(&(Some(name.to_owned()), Some(version.to_owned()))).context("not in Cargo.lock")?;
        let told = component["hashes"][0]["content"].as_str();
        ensure!(told == known.as_deref(), "{name}: {told:?}, and {known:?} in Cargo.lock");
        ensure!(text(component, "purl") == format!("pkg:cargo/{name}@{version}"), "{component}");
        let licence = text(&component["licenses"][0], "expression");
        ensure!(!licence.is_empty() && !licence.contains('/'), "{name}: {licence:?} is no SPDX expression");
        ensure!(licences.contains(&format!("\n  {name} {version} (")), "no licence of {name} {version}");
    }
    let names: BTreeSet<&str> = components.iter().map(|component| text(component, "name")).collect();
    for linked in ["cryprqd", "cryprq", "cryprq-node", "cryprq-os", "aws-lc-sys", "libp2p", "clap", "rtnetlink"] {
        ensure!(names.contains(linked), "{linked} is linked and not named");
    }
    // What builds, what tests, and what other systems need.
    for absent in ["cryprq-tests", "proptest", "cc", "clap_derive", "serde_derive", "flate2", "block2", "windows-sys"] {
        ensure!(!names.contains(absent), "{absent} is named and not linked");
    }
    let references: BTreeSet<&str> = components.iter().map(|component| text(component, "bom-ref")).collect();
    for entry in list(&bill, "dependencies") {
        let known = |reference: &str| reference == "cryprq" || references.contains(reference);
        ensure!(
            known(text(entry, "ref")) && list(entry, "dependsOn").iter().all(|on| known(on.as_str().unwrap_or("")))
        );
    }
    ensure!(list(&bill, "dependencies").len() == components.len() + 1);
    Ok(())
}

#[test]
fn the_same_commit_gives_the_same_inventory_and_each_target_its_own() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let Some(linux) = inventory(&folder.path().join("1"), &TARGETS[..1])? else { return Ok(()) };
    ensure!(inventory(&folder.path().join("2"), &TARGETS[..1])?.as_ref() == Some(&linux));
    let (macos, _) = inventory(&folder.path().join("3"), &TARGETS[1..])?.context("it was there before")?;
    ensure!(macos.contains("\"pkg:cargo/block2@") && !macos.contains("\"pkg:cargo/rtnetlink@"));
    Ok(())
}
