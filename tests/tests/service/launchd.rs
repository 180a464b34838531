//! The launchd job is what the other parts take it for.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::path::Path;

use cryprq_ipc_proto::{apple, launchd as shared, paths};
use cryprq_tests::repository::root;
use launchd::{KeepAliveOptions, KeepAliveType, Launchd, ProcessType, ResourceLimits};
use plist::{Dictionary, Value};

fn committed() -> Dictionary {
    let file = root().join("launchd/dev.cryprq.daemon.plist");
    Value::from_file(file).expect("a property list").into_dictionary().expect("a dictionary")
}

/// What the crate can express (docs/decisions/0011).
fn by_the_crate() -> Dictionary {
    let files = ResourceLimits::new().with_number_of_files(4096);
    let job = Launchd::default()
        .with_label(apple::DAEMON_LABEL)
        .with_program_arguments(vec![shared::PROGRAM.into()])
        .run_at_load()
        .with_keep_alive(KeepAliveType::Options(KeepAliveOptions::new().with_successful_exit(false)))
        .with_throttle_interval(5)
        .with_exit_timeout(10)
        .with_process_type(ProcessType::Interactive)
        .with_soft_resource_limits(files.clone())
        .with_hard_resource_limits(files)
        .with_mach_services(HashMap::from([(apple::MACH_SERVICE.into(), true.into())]))
        .with_standard_error_path(shared::LOG)
        .expect("a path of UTF-8");
    let mut text = Vec::new();
    job.to_writer_xml(&mut text).expect("a property list");
    let value = Value::from_reader_xml(text.as_slice()).expect("it reads back");
    value.into_dictionary().expect("a dictionary")
}

#[test]
fn the_property_list_is_what_the_crate_writes_and_the_two_keys_that_it_cannot() {
    let mut expected = by_the_crate();
    expected.insert("AssociatedBundleIdentifiers".into(), Value::Array(vec![apple::APP_ID.into()]));
    let control = Dictionary::from_iter([
        ("SockPathName", Value::from(paths::MACOS.control_socket().to_str().expect("UTF-8"))),
        ("SockPathMode", i64::from(shared::CONTROL_SOCKET_MODE).into()),
        ("SockPathOwner", 0_i64.into()),
        ("SockPathGroup", i64::from(shared::GROUP_ID).into()),
    ]);
    let sockets = Dictionary::from_iter([(shared::CONTROL_SOCKET_NAME, Value::Dictionary(control))]);
    expected.insert("Sockets".into(), Value::Dictionary(sockets));
    let keys = |dictionary: &Dictionary| dictionary.keys().cloned().collect::<BTreeSet<_>>();
    let committed = committed();
    assert_eq!(keys(&committed), keys(&expected));
    for (key, value) in &committed {
        assert_eq!(Some(value), expected.get(key), "{key}");
    }
}

#[test]
fn the_job_names_absolute_paths_that_only_root_can_change_and_a_service_of_the_app_group() {
    let committed = committed();
    let arguments = committed["ProgramArguments"].as_array().expect("a list");
    let program = arguments.first().and_then(Value::as_string).expect("a program");
    assert!(Path::new(program).starts_with("/Library/PrivilegedHelperTools"), "{program}");
    assert!(apple::MACH_SERVICE.strip_prefix(apple::APP_GROUP).is_some_and(|rest| rest.starts_with('.')));
    assert!(shared::PROPERTY_LIST.ends_with(&format!("/{}.plist", apple::DAEMON_LABEL)));
    // launchd wants decimals: octal digits in the file would be another mode.
    let text = fs::read_to_string(root().join("launchd/dev.cryprq.daemon.plist")).expect("a text file");
    assert!(text.contains("<key>SockPathMode</key>\n\t\t\t<integer>432</integer>"));
}

#[test]
fn the_log_that_is_kept_short_is_the_log_that_is_written() {
    let text = fs::read_to_string(root().join("launchd/dev.cryprq.newsyslog.conf")).expect("a text file");
    let rules: Vec<Vec<&str>> = text
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty())
        .map(|line| line.split_whitespace().collect())
        .collect();
    // newsyslog.conf(5): file, owner and group, mode, how many, KiB, when, flags.
    assert_eq!(rules, [[shared::LOG, "root:admin", "640", "5", "1024", "*", "J"]]);
}

#[test]
fn the_app_and_its_extension_are_built_with_the_same_names() {
    let text = fs::read_to_string(root().join("apple-extension/Xcode/Constants.xcconfig")).expect("a text file");
    let mut known: HashMap<&str, String> = HashMap::new();
    for (name, value) in text.lines().filter(|line| !line.starts_with("//")).filter_map(|line| line.split_once(" = ")) {
        let value = known.iter().fold(value.to_owned(), |value, (name, is)| value.replace(&format!("$({name})"), is));
        known.insert(name, value);
    }
    assert_eq!(known["CRYPRQ_APP_ID"], apple::APP_ID);
    assert_eq!(known["CRYPRQ_APP_GROUP"], apple::APP_GROUP);
    assert_eq!(known["CRYPRQ_MACH_SERVICE"], apple::MACH_SERVICE);
}

#[test]
fn the_readme_names_every_command_that_the_job_needs() {
    let readme = fs::read_to_string(root().join("launchd/README.md")).expect("a text file");
    for command in [
        format!("launchctl bootstrap system {}", shared::PROPERTY_LIST),
        format!("launchctl start {}", apple::DAEMON_LABEL),
        format!("launchctl stop {}", apple::DAEMON_LABEL),
        format!("launchctl kickstart -k system/{}", apple::DAEMON_LABEL),
        format!("launchctl bootout system/{}", apple::DAEMON_LABEL),
    ] {
        assert!(readme.contains(&command), "{command}");
    }
}
