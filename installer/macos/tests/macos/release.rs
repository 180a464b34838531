//! The release script, whose every tool of Apple's is replaced by one that looks at what it gets and records how it was
//! called. No Mac has run it; this shows that its steps fit together, and what it refuses.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

use crate::fixture::{printed, readers, run, universal};

const TEAM: &str = "ABCDE12345";

/// What the script calls and this machine has not, or has in another form. `$HARNESS` is the folder of this test.
const TOOLS: [(&str, &str); 13] = [
    ("uname", "echo Darwin"),
    // That of macOS wants the ending of a copy.
    ("sed", r#"[ "$1 $2" != "-i " ] || { shift 2; exec /usr/bin/sed -i "$@"; }; exec /usr/bin/sed "$@""#),
    (
        "cargo",
        r#"triple=
for word; do [ "$before" != --target ] || triple=$word; before=$word; done
if [ -n "$triple" ]; then
    mkdir -p "$CARGO_TARGET_DIR/$triple/release"
    for program in cryprqd cryprq; do cp ipc-proto/src/apple.rs "$CARGO_TARGET_DIR/$triple/release/$program"; done
else
    mkdir "$CARGO_TARGET_DIR/debug"
    ln -s "$HARNESS/cryprq" "$HARNESS/cryprq-installer" "$CARGO_TARGET_DIR/debug/"
fi"#,
    ),
    // Both parts were compiled with the team's id in them.
    (
        "lipo",
        r#"[ "$1 $2" = "-create -output" ] && grep -q ABCDE12345 "$4" && grep -q ABCDE12345 "$5" && cp "$HARNESS/universal" "$3""#,
    ),
    ("codesign", r#"for last; do :; done; [ -e "$last" ]"#),
    ("xcodegen", "[ -f project.yml ] && ! grep -rq TEAMID Xcode"),
    (
        "xcodebuild",
        r#"case "$*" in
*-exportArchive*)
    grep -q ABCDE12345 "$6" && mkdir -p "$8/CrypRQ.app/Contents" && : >"$8/CrypRQ.app/Contents/Info.plist" ;;
*) [ -d apple-extension ] ;;
esac"#,
    ),
    (
        "security",
        r#"[ ! -e "$HARNESS/no-certificates" ] || exit 0
case $4 in
codesigning) echo '  1) 0A "Developer ID Application: Somebody (ABCDE12345)"' ;;
basic) echo '  1) 0B "Developer ID Installer: Somebody (ABCDE12345)"' ;;
esac"#,
    ),
    (
        "pkgutil",
        r#"[ "$1" = --expand-full ] || exec test -f "$2"
mkdir "$3" && bsdtar -xf "$2" -C "$3" && cd "$3/daemon.pkg" || exit 1
for part in Payload Scripts; do
    mv $part archive && mkdir $part && bsdtar -xf archive -C $part && rm archive || exit 1
done"#,
    ),
    (
        "pkgbuild",
        r#"for last; do [ "$before" != --root ] || (cd "$last" && find . -type f | sort >>"$HARNESS/packed"); before=$last; done
case "$*" in *--scripts*) [ -x "$4/preinstall" ] && [ -x "$4/postinstall" ] && [ -f "$4/version" ] || exit 1 ;; esac
: >"$last""#,
    ),
    ("plutil", r#"[ -f "$5" ]"#),
    (
        "productbuild",
        r#"[ -f "$4/daemon.pkg" ] && [ -f "$4/app.pkg" ] && cp "$2" "$HARNESS/Distribution" || exit 1
for last; do :; done; : >"$last""#,
    ),
    ("xcrun", r#"[ -f "$3" ]"#),
];

/// In the place of our command line, which writes its own pages.
const CLI: &str = r#"#!/bin/sh
[ "$1" != man ] || echo ".TH cryprq 1" >"$3/cryprq.1"
"#;

/// A clone of this repository, with the script as it is now, and the tools.
struct Release {
    folder: TempDir,
}

impl Release {
    /// `None` with a line that says why there is none.
    fn new() -> Option<Self> {
        if !readers() {
            return None;
        }
        let release = Self { folder: tempfile::tempdir().expect("a folder") };
        let ours = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let cloned = run(Command::new("git").args(["clone", "--quiet"]).arg(&ours).arg(release.repository()));
        if !cloned.status.success() {
            println!("skipped: the macOS release: no clone: {}", String::from_utf8_lossy(&cloned.stderr).trim());
            return None;
        }
        fs::copy(ours.join("installer/macos/release"), release.repository().join("installer/macos/release"))
            .expect("a folder of the test takes it");
        let author = ["-c", "user.name=test", "-c", "user.email=test@localhost"];
        release.git(&[&author[..], &["commit", "--quiet", "--allow-empty", "--all", "--message", "now"]].concat());
        fs::create_dir(release.path("tools")).expect("a folder of the test takes it");
        for (name, script) in TOOLS.into_iter().chain([("spctl", "[ -f \"$5\" ]")]) {
            let record = format!("#!/bin/sh\necho \"{name} $*\" >>\"$HARNESS/calls\"\n{script}\n");
            release.write(&format!("tools/{name}"), record.as_bytes());
        }
        release.write("cryprq", CLI.as_bytes());
        release.write("universal", &universal("linked"));
        symlink(env!("CARGO_BIN_EXE_cryprq-installer"), release.path("cryprq-installer")).expect("a link");
        Some(release)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn repository(&self) -> PathBuf {
        self.path("clone")
    }

    fn write(&self, name: &str, content: &[u8]) {
        fs::write(self.path(name), content).expect("a folder of the test takes it");
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(0o755)).expect("a folder of the test takes it");
    }

    fn git(&self, arguments: &[&str]) -> String {
        printed(Command::new("git").arg("-C").arg(self.repository()).args(arguments))
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let path = std::env::var("PATH").unwrap_or_default();
        let mut command = Command::new(self.repository().join("installer/macos/release"));
        command.args(arguments).env("HARNESS", self.folder.path()).env_remove("CARGO_TARGET_DIR");
        // The inventory asks the real cargo.
        command.env("CARGO", env!("CARGO"));
        run(command.env("PATH", format!("{}:{path}", self.path("tools").display())))
    }

    /// The one line that it ends with when it refuses; it has to, and nothing is left.
    fn refusal(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{told}");
        assert!(told.starts_with("release: error: ") && told.lines().count() == 1, "{told}");
        assert!(!self.path("Distribution").exists(), "{told}");
        assert_eq!(self.git(&["worktree", "list"]).lines().count(), 1, "{told}");
        told
    }
}

#[test]
fn the_release_signs_packs_and_submits_both_components_and_leaves_the_repository_as_it_is() {
    let Some(release) = Release::new() else { return };
    let output = release.run(&[TEAM, "notary"]);
    let calls = fs::read_to_string(release.path("calls")).unwrap_or_default();
    assert!(output.status.success(), "{}\n{calls}", String::from_utf8_lossy(&output.stderr));
    let package = release.repository().join(format!("target/macos/CrypRQ-{}.pkg", env!("CARGO_PKG_VERSION")));
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(told.ends_with(&format!("{}\n", package.display())) && package.exists(), "{told}");

    // In this order.
    let mut rest = calls.lines();
    for (begins, holds) in [
        ("cargo build --release ", "--target aarch64-apple-darwin "),
        ("cargo build --release ", "--target x86_64-apple-darwin "),
        ("codesign --force --timestamp --options runtime ", " dev.cryprq.daemon --sign Developer ID Application: Som"),
        ("codesign --force --timestamp --options runtime ", " dev.cryprq.cli --sign Developer ID Application: Som"),
        ("codesign --verify --strict ", "/cryprqd "),
        ("xcodebuild ", " -exportArchive "),
        ("codesign --verify --deep --strict ", "/CrypRQ.app"),
        ("pkgbuild --root ", "--identifier dev.cryprq.daemon "),
        ("plutil -replace 0.BundleIsRelocatable -bool NO ", ""),
        ("pkgbuild --root ", "--identifier dev.cryprq.app "),
        ("productbuild --distribution ", " --sign Developer ID Installer: Somebody (ABCDE12345) --timestamp "),
        ("xcrun notarytool submit ", ".pkg --keychain-profile notary --wait"),
        ("xcrun stapler staple ", ".pkg"),
        ("spctl --assess --type install ", ".pkg"),
    ] {
        let found = rest.any(|call| call.starts_with(begins) && call.contains(holds));
        assert!(found, "no call '{begins}…{holds}' in its place in\n{calls}");
    }
    let packed = fs::read_to_string(release.path("packed")).unwrap();
    for file in [
        "./Library/PrivilegedHelperTools/dev.cryprq.daemon",
        "./Library/LaunchDaemons/dev.cryprq.daemon.plist",
        "./opt/cryprq/share/doc/cryprq.cdx.json",
        "./CrypRQ.app/Contents/Info.plist",
    ] {
        assert!(packed.lines().any(|line| line == file), "{file} in {packed}");
    }
    const READ: &str = "import sys, xml.etree.ElementTree as tree
for node in tree.parse(sys.argv[1]).iter():
    print(node.tag, *node.attrib.values(), (node.text or '').strip())";
    let told = printed(Command::new("python3").args(["-c", READ]).arg(release.path("Distribution")));
    let seen = |tag: &str, end: &str| told.lines().any(|line| line.starts_with(tag) && line.trim().ends_with(end));
    for (tag, end) in [("line ", "daemon"), ("line ", "app"), ("pkg-ref ", " daemon.pkg"), ("pkg-ref ", " app.pkg")] {
        assert!(seen(tag, end), "{tag}{end} in\n{told}");
    }
    assert_eq!(release.git(&["status", "--porcelain"]), "");
    assert_eq!(release.git(&["worktree", "list"]).lines().count(), 1);
}

#[test]
fn a_release_that_cannot_become_one_ends_in_one_line_and_no_package() {
    let Some(release) = Release::new() else { return };
    assert!(release.refusal(&[]).contains("usage: installer/macos/release TEAM NOTARY-PROFILE"));
    assert!(release.refusal(&["Somebody", "notary"]).contains("'Somebody' is no team's id"));
    release.write("no-certificates", b"");
    assert!(release.refusal(&[TEAM, "notary"]).contains("no certificate 'Developer ID Application' of ABCDE12345"));
    fs::write(release.repository().join("README.md"), "changed").expect("a folder of the test takes it");
    assert!(release.refusal(&[TEAM, "notary"]).contains("the work tree has changes"));
    fs::remove_file(release.path("tools/xcodegen")).expect("it is there");
    assert!(release.refusal(&[TEAM, "notary"]).contains("xcodegen is missing"));
    fs::remove_file(release.path("tools/uname")).expect("it is there");
    assert!(release.refusal(&[TEAM, "notary"]).contains("this runs on a Mac"));
}
