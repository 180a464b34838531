//! A folder that looks like a Mac to the scripts: its folders, its shell, and commands that do what the scripts want of
//! macOS's own, with a record of how they were called. The scripts run in it as root, in a namespace of their own.
//!
//! Only the tools that are listed here are there, so a script that uses another one fails.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

use crate::fixture::{Fixture, readers, run, which};

/// The tools of POSIX that macOS has too.
const TOOLS: [&str; 12] = ["cat", "chroot", "cp", "env", "find", "grep", "id", "mkdir", "mv", "rm", "rmdir", "sed"];

/// Where the installer unpacks the scripts, and where the commands below keep what they know.
const SCRIPTS: &str = "/private/tmp/scripts";
const FAKE: &str = "/fake";

/// macOS's own commands: as much of each as the scripts use.
const COMMANDS: [(&str, &str); 10] = [
    (
        "/bin/launchctl",
        r#"case $1 in
print) [ -e /fake/loaded ] ;;
bootout) [ -e /fake/stuck ] || rm -f /fake/loaded /fake/running ;;
enable) ;;
bootstrap)
    [ -f "$3" ] && [ ! -e /fake/refused ] || { echo 'Bootstrap failed: 5: Input/output error' >&2; exit 5; }
    : >/fake/loaded
    [ -e /fake/broken ] || : >/fake/running ;;
*) exit 64 ;;
esac"#,
    ),
    (
        "/usr/bin/dscl",
        r#"case $2 in
-read) [ -e "/fake$3" ] || { echo 'eDSRecordNotFound' >&2; exit 56; }; echo "PrimaryGroupID: $(cat "/fake$3")" ;;
-list) for file in /fake/Groups/*; do echo "${file##*/}     $(cat "$file")"; done ;;
*) exit 64 ;;
esac"#,
    ),
    (
        "/usr/sbin/dseditgroup",
        r#"[ ! -e /fake/no-groups ] || { echo 'Operation failed with error: eDSPermissionError' >&2; exit 1; }
case "$2 $3 $4 $5" in
"create -n . -i") echo "$6" >"/fake/Groups/$9" ;;
"edit -n . -t") [ -e "/fake/Groups/$9" ] && [ "$6 $8" = "group admin" ] ;;
"delete -n . _cryprq") rm "/fake/Groups/$5" ;;
*) exit 64 ;;
esac"#,
    ),
    (
        "/usr/libexec/PlistBuddy",
        r#"case $2 in
Print*) sed -n '/SockPathGroup/{n;s/[^0-9]//g;p;}' "$3" ;;
Set*) sed -i "/SockPathGroup/{n;s/[0-9][0-9]*/${2##* }/;}" "$3" ;;
esac"#,
    ),
    (
        "/bin/ls",
        r#"[ "$1" = -led ] || exit 64
echo "drwxr-xr-x+ 3 root  wheel  96 Nov 30 09:00 $2"
sed -n "s|^$2 has ||p" /fake/access"#,
    ),
    ("/usr/bin/sw_vers", "cat /fake/system"),
    ("/usr/bin/uname", "cat /fake/machine"),
    (
        "/usr/sbin/pkgutil",
        r#"[ "$1" = --forget ] || exit 64
rm "/fake/receipts/$2" 2>/dev/null || { echo "No receipt for '$2' found at '/'." >&2; exit 1; }"#,
    ),
    ("/bin/date", "now=$(cat /fake/clock); echo \"$now\"; echo $((now + 5)) >/fake/clock"),
    ("/bin/sleep", ""),
];

/// In the place of our programs, which are for another processor.
const CLI: &str = "#!/bin/sh\n[ \"$1\" = version ] && [ -e /fake/running ] || exit 3\n";
const DAEMON: &str = "#!/bin/sh\necho \"cryprqd $*\" >>/fake/calls\n";

pub(crate) struct Mac {
    root: TempDir,
    /// What a shell does before the scripts run: `$1` is the folder of the Mac.
    pub(crate) before: &'static str,
    /// The environment of whoever started the installer.
    pub(crate) environment: Vec<(&'static str, &'static str)>,
}

impl Mac {
    /// One without CrypRQ, whose `/bin/sh` is this machine's `shell`; `None` with a line that says why there is none.
    pub(crate) fn new(shell: &str) -> Option<Self> {
        if !readers() {
            return None;
        }
        let mac = Self { root: tempfile::tempdir().expect("a folder"), before: ":", environment: Vec::new() };
        for (folder, mode) in [
            ("/bin", 0o755),
            ("/sbin", 0o755),
            ("/usr/bin", 0o755),
            ("/usr/sbin", 0o755),
            ("/usr/libexec", 0o755),
            ("/private/etc/newsyslog.d", 0o755),
            ("/private/etc/paths.d", 0o755),
            ("/private/var/run", 0o755),
            (SCRIPTS, 0o755),
            ("/Library/LaunchDaemons", 0o755),
            ("/Library/PrivilegedHelperTools", 0o1755),
            ("/Library/Application Support", 0o755),
            ("/Library/Logs", 0o775),
            ("/Applications", 0o775),
            ("/dev", 0o755),
            ("/host", 0o755),
            ("/fake/Groups", 0o755),
            ("/fake/receipts", 0o755),
        ] {
            fs::create_dir_all(mac.path(folder)).expect("a folder of the test takes it");
            mac.mode(folder, mode);
        }
        mac.mode("", 0o755);
        for (to, from) in
            [("private/etc", "/etc"), ("private/var", "/var"), ("host/lib", "/lib"), ("host/lib64", "/lib64")]
        {
            symlink(to, mac.path(from)).expect("a folder of the test takes it");
        }
        symlink("/host/lib", mac.path("/usr/lib")).expect("a folder of the test takes it");
        mac.write("/private/etc/passwd", "root:*:0:0::/var/root:/bin/sh\n", 0o644);
        for tool in TOOLS {
            mac.tool(tool, &format!("/usr/bin/{tool}"));
        }
        mac.tool(shell, "/bin/sh");
        for (path, script) in COMMANDS {
            let name = Path::new(path).file_name().and_then(|name| name.to_str()).expect("a name");
            mac.write(path, &format!("#!/bin/sh\necho \"{name} $*\" >>/fake/calls\n{script}\n"), 0o755);
        }
        mac.write("/fake/system", "14.5\n", 0o644);
        mac.write("/fake/machine", "arm64\n", 0o644);
        mac.write("/fake/clock", "1795000000\n", 0o644);
        mac.write("/fake/Groups/admin", "80\n", 0o644);
        mac.write("/fake/access", "", 0o644);
        mac.write("/fake/calls", "", 0o644);
        let tried = mac.run("/usr/bin/env", &[]);
        if !tried.status.success() {
            println!("skipped: the scripts of the macOS package: {}", String::from_utf8_lossy(&tried.stderr).trim());
            return None;
        }
        Some(mac)
    }

    /// A path of the Mac on this machine.
    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.root.path().join(path.trim_start_matches('/'))
    }

    pub(crate) fn write(&self, path: &str, content: &str, mode: u32) {
        fs::write(self.path(path), content).unwrap_or_else(|error| panic!("{path}: {error}"));
        self.mode(path, mode);
    }

    pub(crate) fn mode(&self, path: &str, mode: u32) {
        fs::set_permissions(self.path(path), fs::Permissions::from_mode(mode)).expect("a folder of the test takes it");
    }

    /// Switches something on that a command of macOS does differently.
    pub(crate) fn fake(&self, name: &str, content: &str) {
        self.write(&format!("{FAKE}/{name}"), content, 0o644);
    }

    pub(crate) fn has(&self, path: &str) -> bool {
        self.path(path).symlink_metadata().is_ok()
    }

    fn tool(&self, name: &str, place: &str) {
        let real = which(name).and_then(|path| fs::canonicalize(path).ok());
        let real = real.unwrap_or_else(|| panic!("this machine has no {name}"));
        let below = real.strip_prefix("/usr").expect("a merged /usr");
        symlink(Path::new("/host").join(below), self.path(place)).expect("a folder of the test takes it");
    }

    /// Runs a program of the Mac as root.
    pub(crate) fn run(&self, program: &str, arguments: &[&str]) -> Output {
        let script = format!(
            "set -e; mount --rbind /usr \"$1/host\"; mount --rbind /dev \"$1/dev\"; {}; \
             root=$1; shift; exec chroot \"$root\" \"$@\"",
            self.before
        );
        let mut command = self.as_root();
        command.args(["sh", "-c", &script, "sh"]).arg(self.root.path()).arg(program).args(arguments);
        run(command.envs(self.environment.iter().copied()))
    }

    /// Begins a command that is root's in namespaces of its own.
    fn as_root(&self) -> Command {
        let mut command = Command::new("unshare");
        if fs::metadata("/proc/self").expect("it is there").uid() != 0 {
            command.arg("--map-root-user");
        }
        command.args(["--mount", "--propagation", "private"]);
        command
    }

    /// As Apple's installer does: the first script, the payload, the second script, a receipt; the first that fails is told.
    pub(crate) fn install(&self, fixture: &Fixture, version: &str) -> Output {
        let (_, parts) = fixture.package(version);
        self.unpack(&parts.join("daemon.pkg/Scripts"), SCRIPTS);
        let before = self.script("preinstall");
        if !before.status.success() {
            return before;
        }
        self.copy(&parts);
        let after = self.script("postinstall");
        if after.status.success() {
            self.fake("receipts/dev.cryprq.daemon", "");
        }
        after
    }

    /// Runs one of the scripts as the installer does.
    pub(crate) fn script(&self, name: &str) -> Output {
        self.run(&format!("{SCRIPTS}/{name}"), &["/private/tmp/CrypRQ.pkg", "/", "/"])
    }

    /// The payload, with programs that this machine can start.
    pub(crate) fn copy(&self, parts: &Path) {
        self.unpack(&parts.join("daemon.pkg/Payload"), "");
        self.write("/Library/PrivilegedHelperTools/dev.cryprq.daemon", DAEMON, 0o755);
        self.write("/opt/cryprq/bin/cryprq", CLI, 0o755);
    }

    fn unpack(&self, archive: &Path, to: &str) {
        let mut command = self.as_root();
        let unpacked = run(command.args(["bsdtar", "-xpf"]).arg(archive).arg("-C").arg(self.path(to)));
        assert!(unpacked.status.success(), "{}", String::from_utf8_lossy(&unpacked.stderr));
    }

    /// How macOS's commands and the daemon were called since the last time.
    pub(crate) fn calls(&self) -> Vec<String> {
        let calls = fs::read_to_string(self.path("/fake/calls")).expect("a record");
        self.fake("calls", "");
        calls.lines().map(str::to_owned).collect()
    }

    /// Everything on the Mac: each path with its kind, mode, owner, and content or target; and the groups and the job.
    pub(crate) fn everything(&self) -> BTreeSet<String> {
        let mut seen = BTreeSet::new();
        self.walk(self.root.path(), &mut seen);
        seen
    }

    fn walk(&self, folder: &Path, seen: &mut BTreeSet<String>) {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            let inside = format!("/{}", path.strip_prefix(self.root.path()).expect("it is inside").display());
            if ["/host", "/dev", SCRIPTS, "/fake/calls", "/fake/clock"].contains(&inside.as_str()) {
                continue;
            }
            let data = path.symlink_metadata().expect("it is there");
            let content = match (data.is_dir(), data.is_symlink()) {
                (true, _) => String::new(),
                (_, true) => fs::read_link(&path).expect("a link").display().to_string(),
                (false, false) => fs::read_to_string(&path).unwrap_or_default(),
            };
            seen.insert(format!("{inside} {:o} {}:{} {content:?}", data.mode(), data.uid(), data.gid()));
            if data.is_dir() {
                self.walk(&path, seen);
            }
        }
    }
}

/// Everything that two views of a Mac do not share.
pub(crate) fn difference(before: &BTreeSet<String>, after: &BTreeSet<String>) -> Vec<String> {
    let gone = before.difference(after).map(|line| format!("- {line}"));
    gone.chain(after.difference(before).map(|line| format!("+ {line}"))).collect()
}

/// The one line that a script ends with when it refuses; it has to.
pub(crate) fn refusal(output: &Output) -> String {
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert_eq!(told.lines().count(), 1, "{told}");
    assert!(told.starts_with("CrypRQ: error: "), "{told}");
    told
}

/// What a script that succeeds says.
pub(crate) fn success(output: &Output) -> String {
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && told.is_empty(), "{:?}: {told}", output.status);
    String::from_utf8_lossy(&output.stdout).into_owned()
}
