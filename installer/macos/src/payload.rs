//! What lies where on a Mac. Nothing lies in a folder that anybody but root can change, so nothing in `/usr/local`.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use cryprq_ipc_proto::launchd;

use crate::macho;
use crate::tree::Tree;

/// The folder of everything that launchd does not have to find.
const HOME: &str = "/opt/cryprq";
/// Tells shells and newsyslog where to look.
const SEARCHED: &str = "/private/etc/paths.d/dev.cryprq";
const ROTATION: &str = "/private/etc/newsyslog.d/dev.cryprq.conf";

/// Everything that is built before the package is.
pub(crate) struct Parts {
    daemon: Vec<u8>,
    cli: Vec<u8>,
    pages: Vec<Named>,
    completions: Vec<(&'static str, Vec<u8>)>,
    docs: Vec<Named>,
}

/// The name and the content of a file.
struct Named(String, Vec<u8>);

impl Parts {
    /// Reads everything, and checks that the programs are such.
    ///
    /// # Errors
    /// What is missing, and what is no program for a Mac.
    pub(crate) fn read(programs: &Path, parts: &Path, docs: &[PathBuf]) -> Result<Self> {
        let program = |name: &str| -> Result<Vec<u8>> {
            let path = programs.join(name);
            let content = content(&path)?;
            macho::check(&content).with_context(|| format!("{} cannot be shipped", path.display()))?;
            Ok(content)
        };
        let completions = [
            ("cryprq.bash", "bash-completion/completions/cryprq"),
            ("cryprq.zsh", "zsh/site-functions/_cryprq"),
            ("cryprq.fish", "fish/vendor_completions.d/cryprq.fish"),
        ];
        let completions: Result<Vec<_>> =
            completions.into_iter().map(|(from, to)| Ok((to, content(&parts.join(from))?))).collect();
        let docs: Result<Vec<_>> = docs.iter().map(|path| named(path)).collect();
        Ok(Self {
            daemon: program("cryprqd")?,
            cli: program("cryprq")?,
            pages: pages(&parts.join("man"))?,
            completions: completions?,
            docs: docs?,
        })
    }

    /// All of it in its place.
    ///
    /// # Errors
    /// When two would be in one.
    pub(crate) fn tree(self, version: &str) -> Result<Tree> {
        let mut tree = Tree::new();
        tree.folder("/Library/PrivilegedHelperTools", 0o1755)?;
        tree.file(launchd::PROGRAM, 0o755, self.daemon)?;
        tree.file(launchd::CLI, 0o755, self.cli)?;
        let job = include_bytes!("../../../launchd/dev.cryprq.daemon.plist");
        tree.file(launchd::PROPERTY_LIST, 0o644, job.to_vec())?;
        let rotation = include_bytes!("../../../launchd/dev.cryprq.newsyslog.conf");
        tree.file(ROTATION, 0o644, rotation.to_vec())?;
        tree.file(SEARCHED, 0o644, format!("{HOME}/bin\n").into_bytes())?;
        tree.file(&format!("{HOME}/uninstall.sh"), 0o755, include_bytes!("../uninstall.sh").to_vec())?;
        tree.file(&format!("{HOME}/share/version"), 0o644, format!("{version}\n").into_bytes())?;
        let daemon = include_bytes!("../../man/cryprqd.8");
        tree.file(&format!("{HOME}/share/man/man8/cryprqd.8"), 0o644, daemon.to_vec())?;
        for Named(name, page) in self.pages {
            tree.file(&format!("{HOME}/share/man/man1/{name}"), 0o644, page)?;
        }
        for (place, script) in self.completions {
            tree.file(&format!("{HOME}/share/{place}"), 0o644, script)?;
        }
        for Named(name, text) in self.docs {
            tree.file(&format!("{HOME}/share/doc/{name}"), 0o644, text)?;
        }
        Ok(tree)
    }
}

fn content(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

fn named(path: &Path) -> Result<Named> {
    let name = path.file_name().and_then(|name| name.to_str());
    Ok(Named(name.with_context(|| format!("{} has no usable name", path.display()))?.to_owned(), content(path)?))
}

/// The man pages of a folder.
fn pages(folder: &Path) -> Result<Vec<Named>> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<_>>>()?;
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "1"));
    ensure!(!paths.is_empty(), "{} holds no man page", folder.display());
    paths.iter().map(|path| named(path)).collect()
}
