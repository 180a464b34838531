//! A cpio archive in the old portable ("odc") form, compressed by gzip: what `Payload` and `Scripts` are.

use std::io::Write;

use anyhow::{Context, Result, ensure};
use flate2::Compression;
use flate2::write::GzEncoder;

use crate::tree::Tree;

/// The largest number that a field of six octal digits holds.
const SIX: usize = 0o777_777;
/// The largest number that a field of eleven octal digits holds.
const ELEVEN: usize = 0o77_777_777_777;

/// `tree` as an archive, everything root's and of the time `date`.
///
/// # Errors
/// When there are too many files or a file is too long for the form.
pub(crate) fn archive(tree: &Tree, date: u32) -> Result<Vec<u8>> {
    let mut out = GzEncoder::new(Vec::new(), Compression::best());
    for (at, (path, node)) in tree.nodes().enumerate() {
        let links = if node.content.is_some() { 1 } else { 2 };
        entry(&mut out, path, at + 1, node.mode(), links, date, node.content.as_deref().unwrap_or_default())
            .with_context(|| format!("cannot pack {path}"))?;
    }
    entry(&mut out, "TRAILER!!!", 0, 0, 1, 0, &[])?;
    Ok(out.finish()?)
}

/// One header of cpio(5) with its name and content. Device and owner are 0.
fn entry(
    out: &mut impl Write,
    path: &str,
    inode: usize,
    mode: u16,
    links: u8,
    date: u32,
    content: &[u8],
) -> Result<()> {
    let (name, size) = (path.len() + 1, content.len());
    ensure!(inode <= SIX && name <= SIX && size <= ELEVEN, "it is too much for a cpio archive");
    write!(
        out,
        "070707{0:06o}{inode:06o}{mode:06o}{0:06o}{0:06o}{links:06o}{0:06o}{date:011o}{name:06o}{size:011o}",
        0
    )?;
    out.write_all(path.as_bytes())?;
    out.write_all(&[0])?;
    Ok(out.write_all(content)?)
}
