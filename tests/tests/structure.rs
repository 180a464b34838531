//! How the house is built: folders, the order of the crates, and the rules of docs/style.md that no lint checks.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::Command;

use cryprq_tests::repository::{root, tracked};
use serde_json::Value;

/// The folders of docs/architecture.md, beside those whose name begins with a dot.
const FOLDERS: [&str; 7] = ["apple-extension", "daemon", "docs", "installer", "ipc-proto", "launchd", "tests"];

/// What of the workspace each crate may depend on: `node` ← `os` ← `net` ← daemon, and the command line knows the
/// local protocol only. The tests may use everything.
const ORDER: [(&str, &[&str]); 8] = [
    ("cryprq-ipc-proto", &[]),
    ("cryprq-ipc", &["cryprq-ipc-proto"]),
    ("cryprq-node", &[]),
    ("cryprq-os", &["cryprq-node"]),
    ("cryprq-net", &["cryprq-node", "cryprq-os"]),
    ("cryprqd", &["cryprq-ipc-proto", "cryprq-net", "cryprq-node", "cryprq-os"]),
    ("cryprq", &["cryprq-ipc-proto"]),
    ("cryprq-installer", &["cryprq-ipc-proto"]),
];
const TESTS: &str = "cryprq-tests";

/// Crates that open sockets, read clocks or run tasks: the core reaches none of them, however indirectly.
const NOT_IN_THE_CORE: [&str; 22] = [
    "async-io",
    "async-std",
    "chrono",
    "crossbeam-channel",
    "futures-executor",
    "futures-timer",
    "hyper",
    "jiff",
    "libp2p",
    "mio",
    "netlink-sys",
    "nix",
    "polling",
    "quanta",
    "quinn",
    "quinn-udp",
    "rustix",
    "smol",
    "socket2",
    "time",
    "tokio",
    "web-time",
];

/// The longest file that a person still overlooks.
const MAX_LINES: usize = 500;

#[test]
fn the_top_level_folders_are_those_of_the_architecture() {
    let Some(files) = tracked() else { return };
    let folders: BTreeSet<&str> =
        files.iter().filter_map(|path| path.split_once('/')).map(|(folder, _)| folder).collect();
    let visible: Vec<&str> = folders.into_iter().filter(|folder| !folder.starts_with('.')).collect();
    assert_eq!(visible, FOLDERS);
}

#[test]
fn a_folder_that_holds_no_program_yet_says_so() {
    let Some(files) = tracked() else { return };
    for folder in ["apple-extension", "installer", "launchd"] {
        let inside: Vec<_> = files.iter().filter(|path| path.starts_with(&format!("{folder}/"))).collect();
        let readme = fs::read_to_string(root().join(folder).join("README.md")).expect("each folder has a README");
        if inside.len() == 1 {
            assert!(readme.contains("Not built yet"), "{folder}/README.md says nothing of what is missing");
        }
    }
}

fn metadata(further: &[&str]) -> Value {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--locked", "--offline"])
        .args(further)
        .current_dir(root())
        .output()
        .expect("cargo built this test, so it runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("cargo metadata is JSON")
}

fn text<'v>(value: &'v Value, key: &str) -> &'v str {
    value[key].as_str().unwrap_or_else(|| panic!("no {key} in {value}"))
}

fn list<'v>(value: &'v Value, key: &str) -> &'v [Value] {
    value[key].as_array().unwrap_or_else(|| panic!("no list {key} in {value}"))
}

#[test]
fn the_crates_stand_in_order() {
    let metadata = metadata(&["--no-deps"]);
    let members: BTreeMap<&str, BTreeSet<&str>> = list(&metadata, "packages")
        .iter()
        .map(|package| (text(package, "name"), list(package, "dependencies").iter().map(|d| text(d, "name")).collect()))
        .collect();
    let own: BTreeSet<&str> = members.keys().copied().collect();
    for (name, dependencies) in &members {
        let used: Vec<&str> = dependencies.intersection(&own).copied().collect();
        let may = ORDER.iter().find(|(member, _)| member == name).map(|(_, may)| *may);
        match may {
            Some(may) => assert!(used.iter().all(|used| may.contains(used)), "{name} depends on {used:?}"),
            None => assert_eq!(*name, TESTS, "a crate without a place in the order"),
        }
    }
    assert_eq!(own.len(), ORDER.len() + 1, "the order names a crate that is gone: {own:?}");
}

/// Everything that `package` links, by name.
fn reaches(metadata: &Value, package: &str) -> BTreeSet<String> {
    let names: BTreeMap<&str, &str> =
        list(metadata, "packages").iter().map(|package| (text(package, "id"), text(package, "name"))).collect();
    let nodes: BTreeMap<&str, &Value> =
        list(&metadata["resolve"], "nodes").iter().map(|node| (text(node, "id"), node)).collect();
    let start = names.iter().find(|(_, name)| **name == package).map(|(id, _)| *id).expect("a member");
    let (mut seen, mut next) = (BTreeSet::from([start]), vec![start]);
    while let Some(id) = next.pop() {
        for dependency in list(nodes[id], "deps") {
            let linked = list(dependency, "dep_kinds").iter().any(|kind| kind["kind"].is_null());
            let id = text(dependency, "pkg");
            if linked && seen.insert(id) {
                next.push(id);
            }
        }
    }
    seen.into_iter().map(|id| names[id].to_owned()).collect()
}

#[test]
fn the_core_links_no_socket_no_clock_and_no_runtime() {
    let metadata = metadata(&["--filter-platform", &host()]);
    let linked = reaches(&metadata, "cryprq-node");
    let wrong: Vec<&str> = NOT_IN_THE_CORE.into_iter().filter(|name| linked.contains(*name)).collect();
    assert!(wrong.is_empty(), "the core links {wrong:?}");
    // The same search finds them where they belong.
    let daemon = reaches(&metadata, "cryprqd");
    assert!(["tokio", "socket2", "nix", "libp2p"].iter().all(|name| daemon.contains(*name)), "{daemon:?}");
}

/// The target that this test was built for.
fn host() -> String {
    let output = Command::new("rustc").arg("-vV").current_dir(root()).output().expect("rustc runs");
    let told = String::from_utf8(output.stdout).expect("rustc speaks UTF-8");
    told.lines().find_map(|line| line.strip_prefix("host: ")).expect("rustc names its host").to_owned()
}

/// Every tracked file whose name ends in one of `endings`, with its text.
fn sources(endings: &[&str]) -> Option<Vec<(String, String)>> {
    let files = tracked()?.into_iter().filter(|path| endings.iter().any(|ending| path.ends_with(ending)));
    Some(files.map(|path| (path.clone(), fs::read_to_string(root().join(path)).expect("a text file"))).collect())
}

/// The part of a line that is no comment; good enough for words that stand in no string.
fn code(line: &str) -> &str {
    line.split_once("//").map_or(line, |(code, _)| code)
}

#[test]
fn unsafe_code_is_in_os_and_at_the_c_border_only() {
    let Some(files) = sources(&[".rs"]) else { return };
    let (mut outside, mut inside) = (Vec::new(), 0);
    for (path, text) in &files {
        for (at, _) in text.lines().enumerate().filter(|(_, line)| is_unsafe(line)) {
            if UNSAFE_PLACES.iter().any(|place| path.starts_with(place)) {
                inside += 1;
            } else {
                outside.push(format!("{path}:{}", at + 1));
            }
        }
    }
    assert!(outside.is_empty(), "outside {UNSAFE_PLACES:?}: {outside:?}");
    assert!(inside > 0, "the search finds nothing");
}

fn is_unsafe(line: &str) -> bool {
    code(line).split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == UNSAFE)
}

#[test]
fn every_line_of_unsafe_code_is_in_the_inventory() {
    let Some(files) = sources(&[".rs"]) else { return };
    let count = |text: &str| text.lines().filter(|line| is_unsafe(line)).count();
    let counted: BTreeMap<&str, usize> =
        files.iter().map(|(path, text)| (path.as_str(), count(text))).filter(|(_, lines)| *lines > 0).collect();
    let page = fs::read_to_string(root().join(format!("docs/{UNSAFE}.md"))).expect("the inventory is a file");
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` | "));
    let listed: BTreeMap<&str, usize> = rows
        .map(|(path, rest)| (path, rest.split(' ').next().and_then(|lines| lines.parse().ok()).expect("a number")))
        .collect();
    assert_eq!(listed, counted);
}

/// Where the word may stand.
const UNSAFE_PLACES: [&str; 2] = ["daemon/os/", "ipc-proto/c/"];
/// The words that this file must not hold itself.
const UNSAFE: &str = concat!("un", "safe");
const UNFINISHED: [&str; 7] = [
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("XX", "X:"),
    concat!("to", "do!("),
    concat!("un", "implemented!("),
    concat!("#[", "ignore"),
    concat!("#[al", "low("),
];

#[test]
fn every_other_crate_forbids_unsafe_code_and_every_library_wants_documentation() {
    let Some(files) = sources(&["src/lib.rs", "src/main.rs"]) else { return };
    assert!(files.len() >= 7, "the search finds too little: {}", files.len());
    for (path, text) in files.iter().filter(|(path, _)| !path.starts_with("tests/fuzz/")) {
        let forbids = text.contains("#![forbid(unsafe_code)]");
        let may = UNSAFE_PLACES.iter().any(|place| path.starts_with(place));
        assert_eq!(forbids, !may, "{path}: #![forbid(unsafe_code)]");
        assert!(!path.ends_with("lib.rs") || text.contains("#![warn(missing_docs)]"), "{path}: #![warn(missing_docs)]");
    }
}

#[test]
fn every_crate_takes_the_lints_of_the_workspace() {
    let manifest: toml::Table = parsed("Cargo.toml");
    for (tool, lint) in [
        ("rust", "unsafe_op_in_unsafe_fn"),
        ("rust", "unreachable_pub"),
        ("rust", "unused_qualifications"),
        ("clippy", "unwrap_used"),
        ("clippy", "wildcard_enum_match_arm"),
        ("clippy", "undocumented_unsafe_blocks"),
        ("clippy", "allow_attributes"),
        ("clippy", "allow_attributes_without_reason"),
    ] {
        assert!(manifest["workspace"]["lints"][tool].get(lint).is_some(), "the workspace does not name {lint}");
    }
    for member in manifest["workspace"]["members"].as_array().expect("a list").iter().filter_map(toml::Value::as_str) {
        let member = parsed(&format!("{member}/Cargo.toml"));
        assert_eq!(member["lints"]["workspace"].as_bool(), Some(true), "{}", member["package"]["name"]);
    }
}

/// `toml` tables of a file of the repository.
fn parsed(path: &str) -> toml::Table {
    let text = fs::read_to_string(root().join(path)).expect("a manifest is a file");
    text.parse().unwrap_or_else(|error| panic!("{path}: {error}"))
}

#[test]
fn every_dependency_is_declared_once_without_default_features_and_with_a_reason() {
    let text = fs::read_to_string(root().join("Cargo.toml")).expect("the workspace has a manifest");
    let manifest: toml::Table = parsed("Cargo.toml");
    for (name, entry) in manifest["workspace"]["dependencies"].as_table().expect("a table") {
        let own = entry.get("path").is_some();
        assert!(own || entry.get("default-features").and_then(toml::Value::as_bool) == Some(false), "{name}");
    }
    let section = text.split("[workspace.dependencies]").nth(1).and_then(|rest| rest.split("\n[").next());
    assert!(section.is_some_and(|section| section.lines().filter(|line| line.starts_with('#')).count() > 20));
    for member in manifest["workspace"]["members"].as_array().expect("a list").iter().filter_map(toml::Value::as_str) {
        let member = parsed(&format!("{member}/Cargo.toml"));
        for table in ["dependencies", "dev-dependencies", "build-dependencies"] {
            for (name, entry) in member.get(table).and_then(toml::Value::as_table).into_iter().flatten() {
                let shared = entry.get("workspace").and_then(toml::Value::as_bool) == Some(true);
                assert!(shared, "{} declares {name} itself", member["package"]["name"]);
            }
        }
    }
}

#[test]
fn no_file_is_longer_than_a_person_overlooks() {
    let Some(files) = sources(&[".rs", ".py", ".sh", ".swift", ".md", "/run", "/check"]) else { return };
    let long: Vec<_> =
        files.iter().filter(|(_, text)| text.lines().count() > MAX_LINES).map(|(path, _)| path).collect();
    assert!(long.is_empty(), "more than {MAX_LINES} lines: {long:?}");
}

#[test]
fn nothing_is_left_unfinished_switched_off_or_silenced() {
    let Some(files) = sources(&[".rs", ".py", ".sh", ".swift", ".toml", "/run", "/check"]) else { return };
    let mut found = Vec::new();
    for (path, text) in &files {
        for (at, line) in text.lines().enumerate() {
            found.extend(
                UNFINISHED.iter().filter(|word| line.contains(*word)).map(|w| format!("{path}:{}: {w}", at + 1)),
            );
        }
    }
    assert!(found.is_empty(), "{found:#?}");
}
