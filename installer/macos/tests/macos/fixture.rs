//! What a package is made of, small; and the package.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

/// Some second of 2026.
pub(crate) const DATE: u32 = 1_795_000_000;

const ARM: u32 = 0x0100_000c;
const INTEL: u32 = 0x0100_0007;

/// A Mach-O for one processor that says what mach-o/loader.h wants said, and does nothing.
pub(crate) fn thin(processor: u32) -> Vec<u8> {
    let head = [0xfeed_facf, processor, 0, 2, 2, 40, 0, 0];
    let for_macos_13 = [0x32, 24, 1, 0x000d_0000, 0, 0];
    let signature = [0x1d, 16, 0, 0];
    head.iter().chain(&for_macos_13).chain(&signature).flat_map(|number| number.to_le_bytes()).collect()
}

/// One for both, which ends in `mark`.
pub(crate) fn universal(mark: &str) -> Vec<u8> {
    let parts = [(INTEL, thin(INTEL)), (ARM, thin(ARM))];
    let (mut head, mut body) = (vec![0xcafe_babe, 2], Vec::new());
    for (processor, part) in &parts {
        let offset = 8 + 2 * 20 + body.len();
        head.extend([
            *processor,
            0,
            u32::try_from(offset).expect("it is short"),
            u32::try_from(part.len()).expect("it is short"),
            0,
        ]);
        body.extend(part);
    }
    head.iter().flat_map(|number: &u32| number.to_be_bytes()).chain(body).chain(mark.bytes()).collect()
}

/// Folders with everything that the package needs.
pub(crate) struct Fixture(TempDir);

impl Fixture {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let write = |name: &str, content: &[u8]| {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().expect("a folder")).expect("a folder of the test takes it");
            fs::write(path, content).expect("a folder of the test takes it");
        };
        write("programs/cryprqd", &universal("the daemon"));
        write("programs/cryprq", &universal("the command line"));
        write("parts/man/cryprq.1", b".TH cryprq 1\n");
        write("parts/man/cryprq-status.1", b".TH cryprq-status 1\n");
        write("parts/cryprq.bash", b"# bash\n");
        write("parts/cryprq.zsh", b"#compdef cryprq\n");
        write("parts/cryprq.fish", b"# fish\n");
        write("LICENSE-MIT", b"MIT\n");
        Self(folder)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// The command that makes `out`.
    pub(crate) fn command(&self, out: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cryprq-installer"));
        command.arg("--programs").arg(self.path("programs")).arg("--parts").arg(self.path("parts"));
        command.arg("--doc").arg(self.path("LICENSE-MIT")).arg("--out").arg(self.path(out));
        command.env("SOURCE_DATE_EPOCH", DATE.to_string());
        command
    }

    /// Makes a package of a version, and takes it apart: its path, and the folder of its parts.
    pub(crate) fn package(&self, version: &str) -> (PathBuf, PathBuf) {
        let name = format!("{version}.pkg");
        let output = self.command(&name).args(["--package-version", version]).output().expect("it was built");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let parts = self.path(&format!("{version}.parts"));
        fs::create_dir(&parts).expect("a folder of the test takes it");
        let unpacked = run(Command::new("bsdtar").arg("-xf").arg(self.path(&name)).arg("-C").arg(&parts));
        assert!(unpacked.status.success(), "{}", String::from_utf8_lossy(&unpacked.stderr));
        (self.path(&name), parts)
    }
}

/// Whether the readers are there; says so if not.
pub(crate) fn readers() -> bool {
    let missing: Vec<&str> = ["bsdtar", "cpio", "python3"].into_iter().filter(|tool| which(tool).is_none()).collect();
    if !missing.is_empty() {
        println!("skipped: the macOS package: this machine has no {}", missing.join(", "));
    }
    missing.is_empty()
}

/// Where a tool of this machine is.
pub(crate) fn which(tool: &str) -> Option<PathBuf> {
    ["/usr/bin", "/bin", "/usr/sbin", "/sbin"]
        .iter()
        .map(|folder| Path::new(folder).join(tool))
        .find(|path| path.exists())
}

pub(crate) fn run(command: &mut Command) -> Output {
    command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

/// What a command prints; it has to succeed.
pub(crate) fn printed(command: &mut Command) -> String {
    let output = run(command);
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}
