//! Installing, upgrading and removing.

use std::fs;

use crate::fixture::Fixture;
use crate::mac::{Mac, difference, success};

const UNINSTALLER: &str = "/opt/cryprq/uninstall.sh";
const SUPPORT: &str = "/Library/Application Support/CrypRQ";
const JOB: &str = "/Library/LaunchDaemons/dev.cryprq.daemon.plist";

/// What a daemon that ran left.
fn use_it(mac: &Mac) {
    fs::create_dir(mac.path(&format!("{SUPPORT}/state"))).expect("a folder of the test takes it");
    mac.mode(&format!("{SUPPORT}/state"), 0o700);
    mac.write(&format!("{SUPPORT}/state/identity.key"), "secret", 0o600);
    mac.write(&format!("{SUPPORT}/cryprq.toml"), "# mine\n", 0o644);
    mac.write("/Library/Logs/CrypRQ/cryprqd.log", "hello\n", 0o640);
    fs::create_dir(mac.path("/var/run/cryprq")).expect("a folder of the test takes it");
    mac.write("/var/run/cryprq/control.sock", "", 0o660);
}

#[test]
fn attack_19_a_removal_with_purge_leaves_the_mac_as_it_was_before_the_installation() {
    // macOS has both as its sh.
    for shell in ["bash", "dash"] {
        let Some(mac) = Mac::new(shell) else { return };
        let before = mac.everything();
        let told = success(&mac.install(&Fixture::new(), "1.2.3"));
        assert!(told.contains("the daemon runs"), "{told}");
        assert!(mac.has("/fake/running") && mac.has("/opt/cryprq/bin/cryprq"));
        assert_eq!(fs::read_to_string(mac.path("/fake/Groups/_cryprq")).unwrap(), "341\n");
        let calls = mac.calls();
        let edit = "dseditgroup -o edit -n . -t group -a admin _cryprq";
        let start = format!("launchctl bootstrap system {JOB}");
        for call in [edit, &start] {
            assert!(calls.iter().any(|told| told == call), "{call} in {calls:?}");
        }

        use_it(&mac);
        let told = success(&mac.run(UNINSTALLER, &["--purge"]));
        assert!(told.ends_with("CrypRQ: removed\n") && !told.contains("kept"), "{told}");
        assert_eq!(difference(&before, &mac.everything()), Vec::<String>::new());
        let calls = mac.calls();
        let at = |call: &str| calls.iter().position(|told| told == call).unwrap_or_else(|| panic!("{call}: {calls:?}"));
        assert!(at("launchctl bootout system/dev.cryprq.daemon") < at("cryprqd --cleanup"));
        at("pkgutil --forget dev.cryprq.daemon");
    }
}

#[test]
fn a_removal_keeps_keys_configuration_and_logs_says_where_and_can_be_repeated() {
    let Some(mac) = Mac::new("bash") else { return };
    let before = mac.everything();
    success(&mac.install(&Fixture::new(), "1.2.3"));
    use_it(&mac);
    let uninstaller = fs::read_to_string(mac.path(UNINSTALLER)).unwrap();
    let told = success(&mac.run(UNINSTALLER, &[]));
    assert!(told.contains(&format!("kept: {SUPPORT}")) && told.contains("kept: /Library/Logs/CrypRQ"), "{told}");
    let kept = difference(&before, &mac.everything());
    let paths = [SUPPORT, "/Library/Logs/CrypRQ"].map(|folder| format!("+ {folder}"));
    assert!(kept.iter().all(|line| paths.iter().any(|path| line.starts_with(path))), "{kept:#?}");
    assert_eq!(kept.len(), 6, "{kept:#?}");

    // What was kept is found again, and a copy of the uninstaller removes what is left.
    success(&mac.install(&Fixture::new(), "1.2.3"));
    assert_eq!(fs::read_to_string(mac.path(&format!("{SUPPORT}/state/identity.key"))).unwrap(), "secret");
    success(&mac.run(UNINSTALLER, &[]));
    mac.write("/private/tmp/uninstall.sh", &uninstaller, 0o755);
    success(&mac.run("/private/tmp/uninstall.sh", &["--purge"]));
    fs::remove_file(mac.path("/private/tmp/uninstall.sh")).unwrap();
    assert_eq!(difference(&before, &mac.everything()), Vec::<String>::new());
}

#[test]
fn attack_19_a_removal_works_with_the_app_there_and_with_the_app_in_the_bin() {
    let Some(mac) = Mac::new("bash") else { return };
    let app = mac.path("/Applications/CrypRQ.app");
    fs::create_dir(&app).unwrap();
    let before = mac.everything();
    success(&mac.install(&Fixture::new(), "1.2.3"));
    mac.fake("receipts/dev.cryprq.app", "");
    let told = success(&mac.run(UNINSTALLER, &["--purge"]));
    assert!(told.contains("put /Applications/CrypRQ.app in the bin"), "{told}");
    assert_eq!(difference(&before, &mac.everything()), Vec::<String>::new());

    success(&mac.install(&Fixture::new(), "1.2.3"));
    fs::remove_dir(&app).unwrap();
    let told = success(&mac.run(UNINSTALLER, &["--purge"]));
    assert!(!told.contains("CrypRQ.app"), "{told}");
    let left = difference(&before, &mac.everything());
    assert!(left.len() == 1 && left[0].starts_with("- /Applications/CrypRQ.app"), "{left:?}");
}

#[test]
fn attack_20_an_upgrade_stops_the_daemon_before_it_changes_anything_and_keeps_what_is_there() {
    let Some(mac) = Mac::new("bash") else { return };
    let fixture = Fixture::new();
    success(&mac.install(&fixture, "1.2.3"));
    use_it(&mac);
    mac.calls();
    success(&mac.install(&fixture, "1.10.0"));
    assert_eq!(fs::read_to_string(mac.path("/opt/cryprq/share/version")).unwrap(), "1.10.0\n");
    assert_eq!(fs::read_to_string(mac.path(&format!("{SUPPORT}/state/identity.key"))).unwrap(), "secret");
    assert!(mac.has("/fake/running"));
    let calls = mac.calls();
    let at = |call: &str| {
        calls.iter().position(|told| told.starts_with(call)).unwrap_or_else(|| panic!("{call}: {calls:?}"))
    };
    assert!(at("launchctl bootout") < at("launchctl bootstrap"));
    assert!(!calls.iter().any(|call| call.starts_with("dseditgroup -o create")), "{calls:?}");

    // The same version once more, and one after the group was lost.
    success(&mac.install(&Fixture::new(), "1.10.0"));
    fs::remove_file(mac.path("/fake/Groups/_cryprq")).unwrap();
    success(&mac.install(&Fixture::new(), "1.10.0"));
    assert!(mac.has("/fake/Groups/_cryprq"));
}

#[test]
fn a_taken_number_of_the_group_is_left_alone_and_the_job_gets_the_one_that_is_used() {
    let Some(mac) = Mac::new("bash") else { return };
    mac.fake("Groups/_other", "341\n");
    mac.fake("Groups/_third", "342\n");
    let before = mac.everything();
    success(&mac.install(&Fixture::new(), "1.2.3"));
    assert_eq!(fs::read_to_string(mac.path("/fake/Groups/_cryprq")).unwrap(), "343\n");
    let job = fs::read_to_string(mac.path(JOB)).unwrap();
    assert!(job.contains("<key>SockPathGroup</key>\n\t\t\t<integer>343</integer>"), "{job}");
    success(&mac.run(UNINSTALLER, &["--purge"]));
    assert_eq!(difference(&before, &mac.everything()), Vec::<String>::new());
}

#[test]
fn what_an_interrupted_installation_left_is_replaced_or_removed() {
    for left in [&["/opt/cryprq/share/version"][..], &["/opt/cryprq/bin/cryprq", JOB], &["/opt/cryprq/share"]] {
        let Some(mac) = Mac::new("bash") else { return };
        let before = mac.everything();
        let tear = || {
            for path in left {
                let path = mac.path(path);
                if path.is_dir() { fs::remove_dir_all(path).unwrap() } else { fs::remove_file(path).unwrap() }
            }
        };
        success(&mac.install(&Fixture::new(), "1.2.3"));
        tear();
        success(&mac.install(&Fixture::new(), "1.2.3"));
        assert!(mac.has(JOB) && mac.has("/fake/running"));
        tear();
        success(&mac.run(UNINSTALLER, &["--purge"]));
        assert_eq!(difference(&before, &mac.everything()), Vec::<String>::new(), "{left:?}");
    }
}
