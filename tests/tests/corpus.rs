//! Every input that fuzzing kept is read again, through the functions that the fuzzer calls.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use cryprq_tests::fuzzing::{Outcome, TARGETS};
use cryprq_tests::repository::root;

/// What the repository spends on inputs, in bytes.
const MOST: u64 = 1 << 20;

fn folder() -> PathBuf {
    root().join("tests/fuzz")
}

fn files(path: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
    let mut files: Vec<_> = entries.map(|entry| entry.expect("a folder can be read").path()).collect();
    files.sort();
    files
}

/// The name of a file without its ending.
fn stem(path: &Path) -> String {
    path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

#[test]
fn every_kept_input_is_read_without_a_fault() {
    for target in TARGETS {
        let mut outcomes = Vec::new();
        for file in files(&format!("corpus/{}", target.name)) {
            let bytes = fs::read(&file).expect("an input is a file");
            println!("{}: {}", target.name, stem(&file));
            outcomes.push((target.run)(&bytes));
        }
        // A reader that takes nothing, or refuses nothing, is not the one that was meant.
        for outcome in [Outcome::Accepted, Outcome::Refused] {
            assert!(outcomes.contains(&outcome), "{}: no input is {outcome:?}", target.name);
        }
    }
}

#[test]
fn inputs_that_are_short_are_refused_by_every_reader() {
    for target in TARGETS.iter().filter(|target| target.name != "config") {
        for bytes in [&[][..], &[0], &[0xff]] {
            assert_eq!((target.run)(bytes), Outcome::Refused, "{}: {bytes:?}", target.name);
        }
    }
}

#[test]
fn each_target_has_a_program_and_a_corpus() {
    let named: BTreeSet<String> = TARGETS.iter().map(|target| target.name.to_owned()).collect();
    let stems = |path| files(path).iter().map(|file| stem(file)).collect::<BTreeSet<_>>();
    assert_eq!(stems("fuzz_targets"), named);
    assert_eq!(stems("corpus"), named);
    let manifest: toml::Table =
        fs::read_to_string(folder().join("Cargo.toml")).expect("a manifest").parse().expect("TOML");
    let bins = manifest["bin"].as_array().expect("programs").iter().filter_map(|bin| bin["name"].as_str());
    assert_eq!(bins.map(str::to_owned).collect::<BTreeSet<_>>(), named);
}

#[test]
fn the_corpora_stay_small() {
    let all = TARGETS.iter().flat_map(|target| files(&format!("corpus/{}", target.name)));
    let bytes: u64 = all.map(|file| fs::metadata(file).expect("a file").len()).sum();
    assert!(bytes < MOST, "{bytes} bytes: minimise them with cargo fuzz cmin");
}
