//! What the documents say about the repository is so.

use std::collections::BTreeSet;
use std::fs;

use cryprq_tests::repository::{root, tracked};
use node::drops::DropReason;

/// Every Markdown file of the repository with its text.
fn documents() -> Option<Vec<(String, String)>> {
    let files = tracked()?.into_iter().filter(|path| path.ends_with(".md"));
    Some(files.map(|path| (path.clone(), fs::read_to_string(root().join(path)).expect("a text file"))).collect())
}

/// The parts of `text` between two marks.
fn between<'t>(text: &'t str, open: &'t str, close: &'t str) -> impl Iterator<Item = &'t str> {
    text.split(open).skip(1).filter_map(move |rest| rest.split_once(close).map(|(inside, _)| inside))
}

/// The texts in single backticks, outside fenced blocks.
fn quoted(text: &str) -> Vec<&str> {
    let mut fenced = false;
    let mut out = Vec::new();
    for line in text.lines() {
        if line.starts_with("```") {
            fenced = !fenced;
        } else if !fenced {
            out.extend(line.split('`').skip(1).step_by(2));
        }
    }
    out
}

#[test]
fn every_link_leads_to_a_file_of_the_repository() {
    let Some(documents) = documents() else { return };
    let mut broken = Vec::new();
    for (path, text) in &documents {
        let folder = root().join(path).parent().expect("a file lies in a folder").to_owned();
        for target in between(text, "](", ")") {
            let file = target.split('#').next().unwrap_or_default();
            let elsewhere = target.starts_with("https://") || target.starts_with("mailto:");
            if !elsewhere && !file.is_empty() && !folder.join(file).exists() {
                broken.push(format!("{path}: {target}"));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn every_path_in_backticks_exists() {
    let Some(documents) = documents() else { return };
    let Some(files) = tracked() else { return };
    let folders: BTreeSet<&str> =
        files.iter().filter_map(|path| path.split_once('/')).map(|(first, _)| first).collect();
    let mut missing = Vec::new();
    for (path, text) in &documents {
        for word in quoted(text) {
            let file = word.split("::").next().unwrap_or_default().trim_end_matches('/');
            let is_path = file.split_once('/').is_some_and(|(first, _)| folders.contains(first));
            let pattern = file.contains(|c: char| c.is_whitespace() || "*{}<>…".contains(c)) || file.contains("NNNN");
            if is_path && !pattern && !root().join(file).exists() {
                missing.push(format!("{path}: {word}"));
            }
        }
    }
    assert!(missing.is_empty(), "a path that is planned only stands without backticks: {missing:#?}");
}

/// Whether `text` has a test of this name: a function whose attributes say so, or an example that must not compile.
fn has_test(text: &str, name: &str) -> bool {
    let lines: Vec<&str> = text.lines().map(str::trim_start).collect();
    let function = format!("fn {name}(");
    let marked = |at: usize| {
        let attributes = lines[..at].iter().rev().take_while(|line| line.starts_with("#[") || line.starts_with("///"));
        attributes.into_iter().any(|line| line.starts_with("#[test]") || line.starts_with("#[tokio::test"))
    };
    let documented = || name == "compile_fail" && text.contains("```compile_fail");
    (0..lines.len()).any(|at| lines[at].contains(&function) && marked(at)) || documented()
}

/// The rows of the tables whose first column is called "promise".
fn promises(text: &str) -> Vec<&str> {
    let mut inside = false;
    let mut rows = Vec::new();
    for line in text.lines() {
        let head = line.starts_with("| promise ");
        inside = head || inside && line.starts_with('|');
        if inside && !head && !line.starts_with("|---") {
            rows.push(line);
        }
    }
    rows
}

#[test]
fn every_promise_of_the_security_document_names_a_test_that_exists() {
    let security = fs::read_to_string(root().join("docs/security.md")).expect("docs/security.md is there");
    let (promises, mut wrong) = (promises(&security), Vec::new());
    for line in &promises {
        let named: Vec<_> = quoted(line).into_iter().filter_map(|word| word.split_once(".rs::")).collect();
        if named.is_empty() {
            wrong.push(format!("no test: {line}"));
        }
        for (file, name) in named {
            let text = fs::read_to_string(root().join(format!("{file}.rs"))).unwrap_or_default();
            if !has_test(&text, name) {
                wrong.push(format!("no test {name} in {file}.rs"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(promises.len() > 20, "the search finds only {} promises", promises.len());
}

/// What nobody has seen is said where people look first.
#[test]
fn that_no_mac_was_at_hand_is_said_in_the_readme_the_status_and_ci() {
    for file in ["README.md", "apple-extension/README.md", "docs/NETWORK_EXTENSION_STATUS.md"] {
        let text = fs::read_to_string(root().join(file)).expect("it is there");
        for said in [
            "The Swift core is compiled and tested on Linux against the real daemon",
            "files are type-checked against interface declarations written by hand from Apple's documentation",
            "they have not been compiled with Apple's SDK, signed, installed or run",
            "o packet has crossed a macOS utun",
        ] {
            assert!(text.contains(said), "{file} does not say: {said}");
        }
    }
    let ci = fs::read_to_string(root().join(".ci/run")).expect("it is there");
    assert!(ci.lines().any(|line| line == "step interface check"), "no stage is called so");
    assert!(ci.contains("Nothing is compiled with Apple's SDK, signed, installed or run: this is no macOS build."));
}

#[test]
fn every_fault_of_the_forerunner_has_its_test() {
    let read = |path| fs::read_to_string(root().join(path)).expect("it is there");
    let (protocol, tests) = (read("docs/protocol.md"), read("tests/tests/forerunner.rs"));
    let table = protocol.split_once("| test | fault |").map_or("", |(_, table)| table);
    let rows = table.lines().skip(2).map_while(|row| row.strip_prefix("| ")?.split_once(" |"));
    let names: Vec<&str> = rows.map(|(name, _)| name).collect();
    assert_eq!(names.len(), 14, "the faults of the table: {names:?}");
    let missing: Vec<_> = names.iter().filter(|name| !has_test(&tests, name)).collect();
    assert!(missing.is_empty(), "no test for {missing:?}");
}

#[test]
fn the_administrators_table_has_every_reason_for_a_drop() {
    let page = fs::read_to_string(root().join("docs/admin.md")).expect("it is there");
    let table = page.split_once("| reason | why |").map_or("", |(_, table)| table);
    let rows = table.lines().skip(2).map_while(|row| row.strip_prefix("| `")?.split_once("` | "));
    let told: Vec<&str> = rows.map(|(name, _)| name).collect();
    let counted: Vec<&str> = DropReason::ALL.iter().map(|reason| reason.name()).collect();
    assert_eq!(told, counted);
}

#[test]
fn the_search_for_tests_finds_what_is_one_and_nothing_else() {
    let text = "#[test]\n#[cfg(unix)]\nfn is_one() {}\n\nfn is_none() {}\n";
    assert!(has_test(text, "is_one") && !has_test(text, "is_none") && !has_test(text, "is"));
}

#[test]
fn each_decision_says_context_choice_rejected_and_consequences() {
    let Some(documents) = documents() else { return };
    let decisions: Vec<_> = documents.iter().filter(|(path, _)| path.starts_with("docs/decisions/")).collect();
    assert!(decisions.len() >= 6);
    for (at, (path, text)) in decisions.iter().enumerate() {
        assert!(path.starts_with(&format!("docs/decisions/{:04}-", at + 1)), "{path}: numbers without gaps");
        for heading in ["## Context", "## Choice", "## Rejected", "## Consequences"] {
            assert!(text.contains(heading), "{path} has no {heading}");
        }
        assert!(text.lines().count() <= 60, "{path} is longer than a page");
    }
}

#[test]
fn nothing_names_the_machine_that_it_was_written_on() {
    let Some(files) = tracked() else { return };
    let mut words: Vec<String> = ["/wo|rk/", "/ro|ot/", "/ho|me/", "/Us|ers/"].map(|word| word.replace('|', "")).into();
    words.extend(registry_hosts());
    let mut found = Vec::new();
    for path in files {
        let Ok(text) = fs::read_to_string(root().join(&path)) else { continue };
        found.extend(words.iter().filter(|word| text.contains(*word)).map(|word| format!("{path}: {word}")));
    }
    assert!(found.is_empty(), "{found:#?}");
}

/// The hosts that this machine's cargo, pip and npm are pointed at, where they are not the public ones.
fn registry_hosts() -> Vec<String> {
    let home = std::env::var("HOME").unwrap_or_default();
    let settings = [".cargo/config.toml", ".cargo/config", ".config/pip/pip.conf", ".pip/pip.conf", ".npmrc"];
    let texts = settings.iter().filter_map(|file| fs::read_to_string(format!("{home}/{file}")).ok());
    let texts = texts.chain(fs::read_to_string("/etc/pip.conf"));
    let public = ["crates.io", "pypi.org", "npmjs.org", "github.com", "localhost"];
    let hosts: BTreeSet<String> = texts.flat_map(|text| hosts(&text)).collect();
    hosts.into_iter().filter(|host| !public.iter().any(|public| host.ends_with(public))).collect()
}

fn hosts(text: &str) -> Vec<String> {
    let stop = |c: char| !c.is_ascii_alphanumeric() && c != '.' && c != '-';
    text.split("://")
        .skip(1)
        .filter_map(|rest| rest.split(stop).next())
        .filter(|host| !host.is_empty())
        .map(str::to_owned)
        .collect()
}

#[test]
fn hosts_are_found_in_settings() {
    assert_eq!(hosts("index = \"sparse+https://a.example/x\"\nb=http://b-1.example:80"), ["a.example", "b-1.example"]);
}
