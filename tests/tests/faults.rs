//! Deliberate faults of the core, each a patch in `tests/faults`: the simulation must catch every one of them.
//!
//! Each patch is applied to a copy of `daemon/node`, which is built with the simulation's sources in a workspace of its
//! own and run against a quick selection. The target directory is shared, so that little else is built for it. A patch
//! that does not apply any more is a failure like one that is not caught: write it anew against the present code
//! (`git diff daemon/node` in its place, below its first line, which says what is wrong).

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

/// A fault that makes the core spin is no fault that the simulation catches.
const PATIENCE: Duration = Duration::from_secs(120);
/// What the simulation needs besides the core.
const DEPENDENCIES: [&str; 6] = ["aws-lc-rs", "ipnet", "libcrux-ml-kem", "node", "rand_chacha", "rand_core"];
/// Says what is wrong when the run ends with it.
const CAUGHT: i32 = 42;

const MAIN: &str = "\
fn main() -> std::process::ExitCode {
    match sim_under_test::sim::quick::check() {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(what) => {
            eprintln!(\"caught by {what}\");
            std::process::ExitCode::from(42)
        }
    }
}
";

/// The workspace with the copy.
struct Lab {
    root: PathBuf,
    repository: PathBuf,
    target: PathBuf,
}

impl Lab {
    fn new() -> Result<Self> {
        let repository = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("tests lie in the repository")?;
        let temporary = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let target = temporary.parent().context("it lies in the target directory")?.to_owned();
        let lab = Self { root: temporary.join("faults"), repository: repository.to_owned(), target };
        lab.write_workspace()?;
        lab.restore()?;
        Ok(lab)
    }

    /// The repository's manifest with other members, its lock file, and the simulation's sources where they lie.
    fn write_workspace(&self) -> Result<()> {
        let text = fs::read_to_string(self.repository.join("Cargo.toml"))?;
        let mut manifest: toml::Table = text.parse()?;
        let workspace = manifest.get_mut("workspace").and_then(toml::Value::as_table_mut).context("no [workspace]")?;
        workspace.remove("exclude");
        workspace.insert("members".into(), toml::Value::try_from(["node", "sim"])?);
        let dependencies =
            workspace.get_mut("dependencies").and_then(toml::Value::as_table_mut).context("no dependencies")?;
        dependencies.retain(|name, value| name == "node" || value.get("path").is_none());
        if let Some(node) = dependencies.get_mut("node").and_then(toml::Value::as_table_mut) {
            node.insert("path".into(), "node".into());
        }
        write(&self.root.join("Cargo.toml"), toml::to_string(&manifest)?)?;
        let lock = self.root.join("Cargo.lock");
        if !lock.exists() {
            fs::copy(self.repository.join("Cargo.lock"), lock)?;
        }
        let dependencies: String =
            DEPENDENCIES.iter().map(|name| format!("{name} = {{ workspace = true }}\n")).collect();
        let package =
            "[package]\nname = \"sim-under-test\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n[dependencies]\n";
        write(&self.root.join("sim/Cargo.toml"), format!("{package}{dependencies}"))?;
        let module = |name: &str, file: &str| {
            let path = self.repository.join("tests/src").join(file);
            format!("#[path = {path:?}]\npub mod {name};\n")
        };
        let library = module("seams", "seams.rs") + &module("sim", "sim/mod.rs");
        write(&self.root.join("sim/src/lib.rs"), library)?;
        write(&self.root.join("sim/src/main.rs"), MAIN)
    }

    /// The copy as the core is. Files that are the same already keep their time, so that little is built anew.
    fn restore(&self) -> Result<()> {
        let mut wanted = BTreeSet::new();
        copy_tree(&self.repository.join("daemon/node"), &self.root.join("node"), &mut wanted)?;
        remove_others(&self.root.join("node"), &wanted)
    }

    fn apply(&self, patch: &Path) -> Result<()> {
        let applied = Command::new("git")
            .args(["apply", "-p3"])
            .arg(patch)
            .current_dir(self.root.join("node"))
            // The copy is part of no repository, or git would take the paths for those of the one around it.
            .env("GIT_CEILING_DIRECTORIES", &self.root)
            .output()
            .context("git is needed to apply patches")?;
        ensure!(
            applied.status.success(),
            "the patch does not apply to daemon/node any more; write it anew against the present code:\n{}",
            String::from_utf8_lossy(&applied.stderr)
        );
        Ok(())
    }

    fn build(&self) -> Result<()> {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let built = Command::new(cargo)
            .args(["build", "--offline", "--quiet", "--package", "sim-under-test"])
            .current_dir(&self.root)
            .env("CARGO_TARGET_DIR", &self.target)
            .env_remove("CARGO_MAKEFLAGS")
            .env_remove("MAKEFLAGS")
            .output()?;
        ensure!(built.status.success(), "it does not build:\n{}", String::from_utf8_lossy(&built.stderr));
        Ok(())
    }

    fn run(&self) -> Result<Output> {
        let child = Command::new(self.target.join("debug/sim-under-test"))
            .env("RUST_BACKTRACE", "0")
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::piped())
            .spawn()?;
        let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id())?);
        let (done, over) = mpsc::channel();
        std::thread::spawn(move || done.send(child.wait_with_output()));
        match over.recv_timeout(PATIENCE) {
            Ok(output) => Ok(output?),
            Err(_) => {
                nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL)?;
                bail!("it ran for {PATIENCE:?} without an end");
            }
        }
    }
}

/// Writes a file unless it holds that already.
fn write(path: &Path, bytes: impl AsRef<[u8]>) -> Result<()> {
    if fs::read(path).is_ok_and(|present| present == bytes.as_ref()) {
        return Ok(());
    }
    fs::create_dir_all(path.parent().context("a file lies in a directory")?)?;
    fs::write(path, bytes).with_context(|| format!("cannot write {}", path.display()))
}

fn copy_tree(from: &Path, to: &Path, wanted: &mut BTreeSet<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let to = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_tree(&entry.path(), &to, wanted)?;
        } else {
            write(&to, fs::read(entry.path())?)?;
            wanted.insert(to);
        }
    }
    Ok(())
}

fn remove_others(directory: &Path, wanted: &BTreeSet<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_others(&entry.path(), wanted)?;
        } else if !wanted.contains(&entry.path()) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// The last lines of what a run said.
fn said(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr);
    let lines: Vec<&str> = text.lines().filter(|line| !line.is_empty() && !line.starts_with("note:")).collect();
    lines[lines.len().saturating_sub(4)..].join(" | ")
}

fn check(lab: &Lab, patch: &Path) -> Result<String> {
    lab.restore()?;
    lab.apply(patch)?;
    let start = Instant::now();
    lab.build()?;
    let built = start.elapsed();
    let output = lab.run()?;
    let spent =
        format!("built in {:.1} s, run in {:.1} s", built.as_secs_f64(), (start.elapsed() - built).as_secs_f64());
    match output.status.code() {
        Some(CAUGHT) => Ok(format!("{spent}: {}", said(&output))),
        Some(0) => bail!("the simulation does not catch it ({spent})"),
        Some(_) | None => bail!("the simulation ended with {}: {}", output.status, said(&output)),
    }
}

#[test]
fn every_deliberate_fault_is_caught() -> Result<()> {
    let lab = Lab::new()?;
    lab.build()?;
    let sound = lab.run()?;
    ensure!(sound.status.success(), "the core as it is fails: {}", said(&sound));
    let mut patches: Vec<PathBuf> =
        fs::read_dir(lab.repository.join("tests/faults"))?.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    patches.retain(|path| path.extension().is_some_and(|extension| extension == "patch"));
    patches.sort();
    ensure!(patches.len() >= 10, "only {} patches", patches.len());
    let mut failed = Vec::new();
    for patch in &patches {
        let name = patch.file_stem().unwrap_or_default().to_string_lossy();
        match check(&lab, patch) {
            Ok(how) => println!("{name}: {how}"),
            Err(error) => {
                println!("{name}: FAILED: {error:#}");
                failed.push(format!("{name}: {error:#}"));
            }
        }
    }
    lab.restore()?;
    ensure!(failed.is_empty(), "{} of {} faults:\n{}", failed.len(), patches.len(), failed.join("\n"));
    Ok(())
}
