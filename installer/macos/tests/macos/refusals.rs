//! What the scripts refuse, each with one line, and how they leave the Mac.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt, chown, symlink};

use crate::fixture::Fixture;
use crate::mac::{Mac, difference, refusal, success};

const UNINSTALLER: &str = "/opt/cryprq/uninstall.sh";
const DAEMON: &str = "/Library/PrivilegedHelperTools/dev.cryprq.daemon";
const JOB: &str = "/Library/LaunchDaemons/dev.cryprq.daemon.plist";

/// Spoils a Mac in one way.
type Spoil<'s> = &'s dyn Fn(&Mac);

#[test]
fn a_mac_that_cannot_take_it_and_a_caller_who_may_not_change_nothing() {
    let plain = |mac: &Mac| {
        fs::remove_file(mac.path("/usr/bin/id")).unwrap();
        mac.write("/usr/bin/id", "#!/bin/sh\necho 501\n", 0o755);
    };
    let cases: [(Spoil<'_>, &str); 4] = [
        (&|mac| mac.fake("machine", "ppc\n"), "a processor of the kind ppc"),
        (&|mac| mac.fake("system", "12.7.6\n"), "this Mac has macOS 12.7.6; version 13 or later is needed"),
        (&|mac| mac.fake("system", "\n"), "version 13 or later is needed"),
        (&plain, "an administrator has to install this"),
    ];
    for (spoil, reason) in cases {
        let Some(mac) = Mac::new("bash") else { return };
        spoil(&mac);
        let before = mac.everything();
        let told = refusal(&mac.install(&Fixture::new(), "1.2.3"));
        assert!(told.contains(reason), "{told}");
        assert_eq!(difference(&before, &mac.everything()), Vec::<String>::new());
    }
    let Some(mac) = Mac::new("bash") else { return };
    success(&mac.install(&Fixture::new(), "1.2.3"));
    for script in ["/private/tmp/scripts/preinstall", "/private/tmp/scripts/postinstall"] {
        let told = refusal(&mac.run(script, &["CrypRQ.pkg", "/Volumes/Other", "/Volumes/Other"]));
        assert!(told.contains("not on '/Volumes/Other'"), "{told}");
    }
    plain(&mac);
    let installed = mac.everything();
    assert!(refusal(&mac.script("postinstall")).contains("an administrator has to install this"));
    assert!(refusal(&mac.run(UNINSTALLER, &[])).contains("root has to do this"));
    let usage = mac.run(UNINSTALLER, &["--all"]);
    assert_eq!(usage.status.code(), Some(2));
    assert_eq!(difference(&installed, &mac.everything()), Vec::<String>::new());
}

#[test]
fn attack_20_an_older_version_does_not_take_the_place_of_a_newer_one() {
    let Some(mac) = Mac::new("dash") else { return };
    let fixture = Fixture::new();
    success(&mac.install(&fixture, "1.10.0"));
    let installed = mac.everything();
    for older in ["1.9.9", "1.2.3", "0.99.99"] {
        let told = refusal(&mac.install(&fixture, older));
        assert!(told.contains(&format!("version 1.10.0 is installed and this is the older {older}")), "{told}");
        assert_eq!(difference(&installed, &mac.everything()), Vec::<String>::new());
    }
    // The way that it names.
    success(&mac.run(UNINSTALLER, &[]));
    success(&mac.script("preinstall"));
}

#[test]
fn attack_17_18_a_folder_that_others_can_change_or_that_is_a_link_is_refused_before_anything_is_copied() {
    let link = |place: &'static str| {
        move |mac: &Mac| {
            fs::create_dir_all(mac.path("/private/tmp/elsewhere")).unwrap();
            fs::create_dir_all(mac.path(place).parent().unwrap()).unwrap();
            let _ = fs::remove_dir(mac.path(place));
            symlink("/private/tmp/elsewhere", mac.path(place)).unwrap();
        }
    };
    let open = |place: &'static str, mode: u32| {
        move |mac: &Mac| {
            fs::create_dir_all(mac.path(place)).unwrap();
            mac.mode(place, mode);
        }
    };
    let cases: [(Spoil<'_>, &str); 14] = [
        // Where Apple's installer puts what finds its place taken.
        (&open("/Applications/CrypRQ.localized", 0o755), "/Applications/CrypRQ.localized"),
        (&link("/opt/cryprq.localized"), "/opt/cryprq.localized"),
        (
            &open("/Library/PrivilegedHelperTools/dev.cryprq.daemon.localized", 0o755),
            "/Library/PrivilegedHelperTools/dev.cryprq.daemon.localized",
        ),
        // Attack 18: of configuration and of logs.
        (&open("/Library/Application Support/CrypRQ", 0o775), "/Library/Application Support/CrypRQ"),
        (&open("/Library/Logs/CrypRQ", 0o775), "/Library/Logs/CrypRQ"),
        (&link("/opt/cryprq"), "/opt/cryprq"),
        (&link("/opt/cryprq/bin"), "/opt/cryprq/bin"),
        (&link("/Library/Logs/CrypRQ"), "/Library/Logs/CrypRQ"),
        (&link("/Library/Application Support/CrypRQ"), "/Library/Application Support/CrypRQ"),
        (&open("/opt", 0o775), "/opt"),
        (&open("/Library/LaunchDaemons", 0o777), "/Library/LaunchDaemons"),
        (&open("/Library/PrivilegedHelperTools", 0o1775), "/Library/PrivilegedHelperTools"),
        (&open("/private/etc/newsyslog.d", 0o757), "/private/etc/newsyslog.d"),
        (&open("/Library/Application Support", 0o777), "/Library/Application Support"),
    ];
    for (spoil, named) in cases {
        let Some(mac) = Mac::new("bash") else { return };
        spoil(&mac);
        let before = mac.everything();
        let told = refusal(&mac.install(&Fixture::new(), "1.2.3"));
        assert!(told.contains(&format!("error: {named} is ")), "{named}: {told}");
        assert_eq!(difference(&before, &mac.everything()), Vec::<String>::new());
    }
    let Some(mac) = Mac::new("bash") else { return };
    if fs::metadata("/proc/self").unwrap().uid() != 0 {
        println!("skipped: a folder of somebody else's on a Mac: run as root, who can give a folder away");
        return;
    }
    fs::create_dir(mac.path("/opt")).unwrap();
    chown(mac.path("/opt"), Some(501), Some(80)).unwrap();
    assert!(refusal(&mac.install(&Fixture::new(), "1.2.3")).contains("error: /opt is "));
}

#[test]
fn attack_17_18_what_an_access_list_lets_others_change_is_refused_whatever_its_mode_says() {
    const REASON: &str = "others than root may change it";
    let list = |mac: &Mac, place: &str, entries: &[&str]| {
        let lines = entries.iter().enumerate().map(|(at, entry)| format!("{place} has  {at}: {entry}\n"));
        mac.fake("access", &lines.collect::<String>());
    };
    let Some(mac) = Mac::new("bash") else { return };
    let before = mac.everything();
    let access = |line: &String| line.contains(" /fake/access ");
    for (place, granted) in [
        ("/Library/LaunchDaemons", "user:eve allow list,add_file,search"),
        ("/Library/PrivilegedHelperTools", "group:staff inherited allow delete_child"),
        ("/opt", "user:eve smith allow add_subdirectory"),
        ("/private/etc/paths.d", "group:everyone allow writesecurity,file_inherit,directory_inherit,only_inherit"),
    ] {
        let created = !mac.has(place);
        fs::create_dir_all(mac.path(place)).unwrap();
        list(&mac, place, &["group:everyone deny delete", granted]);
        let told = refusal(&mac.install(&Fixture::new(), "1.2.3"));
        assert!(told.contains(&format!("error: {place} is ")) && told.contains(REASON), "{place}: {told}");
        if created {
            fs::remove_dir(mac.path(place)).unwrap();
        }
        let changed = difference(&before, &mac.everything());
        assert!(changed.iter().all(access), "{changed:?}");
    }
    // What forbids, and what lets somebody look, is as good as none.
    list(&mac, "/Library/LaunchDaemons", &["group:everyone deny delete", "user:eve allow list,search,readattr"]);
    success(&mac.install(&Fixture::new(), "1.2.3"));
    list(&mac, DAEMON, &["user:eve allow write,append"]);
    assert!(refusal(&mac.script("postinstall")).contains(REASON));
    mac.calls();
    success(&mac.run(UNINSTALLER, &["--purge"]));
    assert!(!mac.calls().iter().any(|call| call == "cryprqd --cleanup"), "root ran what others could change");
}

#[test]
fn attack_17_a_program_that_is_missing_linked_or_writable_is_not_started() {
    let swap = |mac: &Mac| {
        fs::rename(mac.path(DAEMON), mac.path("/private/tmp/daemon")).unwrap();
        symlink("/private/tmp/daemon", mac.path(DAEMON)).unwrap();
    };
    let astray = |mac: &Mac| {
        let folder = mac.path(&format!("{DAEMON}.localized"));
        fs::create_dir(&folder).unwrap();
        fs::rename(mac.path(DAEMON), folder.join("dev.cryprq.daemon")).unwrap();
    };
    let cases: [(Spoil<'_>, &str); 7] = [
        (&|mac| mac.mode("/opt/cryprq", 0o775), "/opt/cryprq is a link, or others than root may change it"),
        (&|mac| fs::remove_file(mac.path(DAEMON)).unwrap(), "is missing: the copying was interrupted"),
        (&astray, "dev.cryprq.daemon is missing"),
        (&|mac| fs::hard_link(mac.path(DAEMON), mac.path("/private/tmp/second")).unwrap(), "has a second name"),
        (&swap, "is a link"),
        (&|mac| mac.mode(JOB, 0o664), "others than root may change it"),
        (&|mac| mac.write(JOB, "<plist>", 0o644), "is damaged"),
    ];
    for (spoil, reason) in cases {
        let Some(mac) = Mac::new("bash") else { return };
        let fixture = Fixture::new();
        success(&mac.install(&fixture, "1.2.3"));
        success(&mac.run(UNINSTALLER, &["--purge"]));
        mac.copy(&fixture.path("1.2.3.parts"));
        if reason == "is damaged" {
            mac.write("/usr/libexec/PlistBuddy", "#!/bin/sh\nexit 1\n", 0o755);
        }
        spoil(&mac);
        let before = mac.everything();
        mac.calls();
        let told = refusal(&mac.script("postinstall"));
        assert!(told.contains(reason), "{reason}: {told}");
        assert!(!mac.calls().iter().any(|call| call.starts_with("launchctl bootstrap")));
        assert!(!mac.has(JOB), "{reason}: the next start of the Mac starts it");
        assert!(told.contains("No daemon runs until that is mended"), "{told}");
        assert_eq!(but_for_the_job(&before, &mac), Vec::<String>::new(), "{reason}");
    }
}

/// What else differs from before than that the job is gone.
fn but_for_the_job(before: &BTreeSet<String>, mac: &Mac) -> Vec<String> {
    let job = format!("- {JOB} ");
    difference(before, &mac.everything()).into_iter().filter(|line| !line.starts_with(&job)).collect()
}

#[test]
fn what_postinstall_made_is_undone_when_it_cannot_go_on() {
    const FULL: &str = "mount -t tmpfs -o mode=755,nr_inodes=1 none \"$1/Library/Logs\"";
    const NO_ROOM_FOR_THE_JOB: &str = "cp $1/Library/LaunchDaemons/* $1/private/tmp/job; \
        mount -t tmpfs -o mode=755,nr_inodes=2 none $1/Library/LaunchDaemons; \
        cp $1/private/tmp/job $1/Library/LaunchDaemons/dev.cryprq.daemon.plist; rm $1/private/tmp/job";
    let cases: [(&str, &'static str, &str); 6] = [
        ("", FULL, "cannot make a folder, nothing was started: mkdir:"),
        ("Groups/_other", NO_ROOM_FOR_THE_JOB, "No space left on device"),
        ("no-groups", ":", "cannot make the group _cryprq: Operation failed with error: eDSPermissionError"),
        ("refused", ":", "launchd does not take the job: Bootstrap failed: 5"),
        ("broken", ":", "the daemon does not come up: /Library/Logs/CrypRQ/cryprqd.log says why"),
        ("every", ":", "every number of a group from 341 to 399 is taken"),
    ];
    for (fault, mounted, reason) in cases {
        let Some(mut mac) = Mac::new("bash") else { return };
        let fixture = Fixture::new();
        success(&mac.install(&fixture, "1.2.3"));
        success(&mac.run(UNINSTALLER, &["--purge"]));
        mac.copy(&fixture.path("1.2.3.parts"));
        match fault {
            "" => {}
            "every" => (341..400).for_each(|number| mac.fake(&format!("Groups/_{number}"), &format!("{number}\n"))),
            fault => mac.fake(fault, "341\n"),
        }
        mac.before = mounted;
        let before = mac.everything();
        let told = refusal(&mac.script("postinstall"));
        assert!(told.contains(reason), "{reason}: {told}");
        assert_eq!(but_for_the_job(&before, &mac), Vec::<String>::new(), "{reason}");
        // One that is whole may be started again; the folder of the other is one that only the script saw.
        let stays = fault == "broken" || mounted == NO_ROOM_FOR_THE_JOB;
        assert_eq!(mac.has(JOB), stays, "{reason}");
    }
}

#[test]
fn an_upgrade_that_fails_keeps_what_the_older_daemon_left_says_that_none_runs_and_can_be_repeated() {
    const STATE: &str = "/Library/Application Support/CrypRQ/state";
    const KEY: &str = "/Library/Application Support/CrypRQ/state/identity.key";
    for (fault, reason) in [
        ("no-groups", "cannot let administrators into _cryprq: Operation failed"),
        ("refused", "launchd does not take the job: Bootstrap failed: 5"),
        ("broken", "the daemon does not come up: /Library/Logs/CrypRQ/cryprqd.log says why. It is stopped"),
    ] {
        let Some(mac) = Mac::new("bash") else { return };
        let fixture = Fixture::new();
        success(&mac.install(&fixture, "1.2.3"));
        fs::create_dir(mac.path(STATE)).unwrap();
        mac.mode(STATE, 0o700);
        mac.write(KEY, "secret", 0o600);
        mac.fake(fault, "");
        mac.calls();
        let told = refusal(&mac.install(&fixture, "1.2.4"));
        assert!(told.contains(reason), "{reason}: {told}");
        let says_so = told.contains("It is stopped") || told.contains("No daemon runs until that is mended");
        assert!(says_so, "{told}");
        assert!(mac.calls().iter().any(|call| call.starts_with("launchctl bootout")), "the older daemon was stopped");
        assert!(!mac.has("/fake/loaded") && !mac.has("/fake/running"), "{reason}");
        assert_eq!(fs::read_to_string(mac.path(KEY)).unwrap(), "secret");
        assert_eq!(fs::metadata(mac.path(KEY)).unwrap().mode() & 0o777, 0o600);
        assert!(mac.has("/fake/Groups/_cryprq") && mac.has(UNINSTALLER), "{reason}");

        fs::remove_file(mac.path("/fake").join(fault)).unwrap();
        let told = success(&mac.install(&fixture, "1.2.5"));
        assert!(told.contains("the daemon runs"), "{told}");
        assert_eq!(fs::read_to_string(mac.path(KEY)).unwrap(), "secret");
    }
}

#[test]
fn on_a_read_only_volume_nothing_is_begun() {
    let Some(mut mac) = Mac::new("bash") else { return };
    let fixture = Fixture::new();
    success(&mac.install(&fixture, "1.2.3"));
    mac.before = "mount --bind \"$1/Library/LaunchDaemons\" \"$1/Library/LaunchDaemons\"; \
        mount -o remount,bind,ro \"$1/Library/LaunchDaemons\"";
    let installed = mac.everything();
    assert!(refusal(&mac.script("preinstall")).contains("is the volume read-only?"));
    assert!(refusal(&mac.run(UNINSTALLER, &["--purge"])).contains("is the volume read-only?"));
    assert_eq!(difference(&installed, &mac.everything()), Vec::<String>::new());
}

#[test]
fn a_daemon_that_does_not_stop_is_neither_replaced_nor_removed() {
    let Some(mac) = Mac::new("bash") else { return };
    let fixture = Fixture::new();
    success(&mac.install(&fixture, "1.2.3"));
    mac.fake("stuck", "");
    let installed = mac.everything();
    assert!(refusal(&mac.install(&fixture, "1.2.4")).contains("the daemon that runs does not stop"));
    assert!(refusal(&mac.run(UNINSTALLER, &[])).contains("the daemon does not stop"));
    assert_eq!(difference(&installed, &mac.everything()), Vec::<String>::new());
}

#[test]
fn attack_17_nothing_of_the_callers_environment_is_run() {
    for shell in ["bash", "dash"] {
        let Some(mut mac) = Mac::new(shell) else { return };
        let evil = mac.path("/private/tmp/evil");
        fs::create_dir(&evil).unwrap();
        for name in ["id", "find", "launchctl", "ls", "cat", "sed", "mkdir", "dscl", "startup"] {
            mac.write(&format!("/private/tmp/evil/{name}"), "#!/bin/sh\n: >/fake/taken-over\n", 0o755);
        }
        mac.environment = vec![
            ("PATH", "/private/tmp/evil:/usr/sbin:/usr/bin:/sbin:/bin"),
            ("ENV", "/private/tmp/evil/startup"),
            ("BASH_ENV", "/private/tmp/evil/startup"),
            ("BASH_FUNC_id%%", "() { : >/fake/taken-over; echo 0; }"),
            ("BASH_FUNC_find%%", "() { : >/fake/taken-over; echo x; }"),
            ("CDPATH", "/private/tmp/evil"),
            ("IFS", "/"),
            ("home", "/private/tmp/evil"),
            ("SHELLOPTS", "xtrace"),
        ];
        success(&mac.install(&Fixture::new(), "1.2.3"));
        success(&mac.run(UNINSTALLER, &["--purge"]));
        assert!(!mac.has("/fake/taken-over"), "with {shell} something of the caller's was run");
        // The trap works where nothing guards against it.
        let taken = mac.run("/bin/sh", &["-c", "id"]);
        assert!(taken.status.success() && mac.has("/fake/taken-over"));
    }
}

#[test]
fn attack_17_no_script_uses_a_folder_where_others_may_write() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    for name in ["scripts/common.sh", "scripts/preinstall", "scripts/postinstall", "uninstall.sh"] {
        let text = fs::read_to_string(folder.join(name)).unwrap();
        let found =
            ["/tmp", "TMPDIR", "mktemp", "/usr/local", "/Users", "HOME"].into_iter().find(|word| text.contains(word));
        assert_eq!(found, None, "{name}");
        let sets_path = text.contains("PATH=/usr/bin:/bin:/usr/sbin:/sbin\n");
        assert!(sets_path || text.contains("\n. \"$here/common.sh\"\n"), "{name}: whose PATH?");
    }
}
