//! The repository itself, for tests of its structure and its documents.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The folder of the workspace.
///
/// # Panics
/// Never: this crate lies in a folder of it.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests lie in a folder of the workspace").to_owned()
}

/// Every file that git tracks, with `/` between folders; `None` with a line that says why where there is no git.
pub fn tracked() -> Option<Vec<String>> {
    let listed = Command::new("git").args(["ls-files", "-z"]).current_dir(root()).output();
    match listed {
        Ok(output) if output.status.success() => {
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            let files = text.split('\0').filter(|path| !path.is_empty() && root().join(path).is_file());
            Some(files.map(str::to_owned).collect())
        }
        Ok(output) => {
            println!("skipped: structure: not a git work tree: {}", String::from_utf8_lossy(&output.stderr).trim());
            None
        }
        Err(error) => {
            println!("skipped: structure: git does not run: {error}");
            None
        }
    }
}
