//! Folders and files as they are on the target. All of them belong to root and its group wheel.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};

/// What is at a path.
pub(crate) struct Node {
    /// Permissions, without the type.
    pub(crate) permissions: u16,
    /// What a file holds; `None` is a folder.
    pub(crate) content: Option<Vec<u8>>,
}

impl Node {
    /// Type and permissions, as stat(2) has them.
    pub(crate) fn mode(&self) -> u16 {
        let kind = if self.content.is_some() { 0o100_000 } else { 0o040_000 };
        kind | self.permissions
    }

    /// The length of what it holds, in bytes.
    pub(crate) fn length(&self) -> usize {
        self.content.as_ref().map_or(0, Vec::len)
    }
}

/// Nodes by their paths, which begin with `./`; the root is `.`.
pub(crate) struct Tree(BTreeMap<String, Node>);

impl Tree {
    /// A root and nothing in it.
    pub(crate) fn new() -> Self {
        Self(BTreeMap::from([(".".into(), Node { permissions: 0o755, content: None })]))
    }

    /// Adds a folder with its parents, or gives one that is there other permissions.
    ///
    /// # Errors
    /// When the path is not absolute.
    pub(crate) fn folder(&mut self, path: &str, permissions: u16) -> Result<()> {
        let path = inside(path)?;
        self.parents(&path);
        self.0.insert(path, Node { permissions, content: None });
        Ok(())
    }

    /// Adds a file with its folders.
    ///
    /// # Errors
    /// When the path is not absolute or taken.
    pub(crate) fn file(&mut self, path: &str, permissions: u16, content: Vec<u8>) -> Result<()> {
        let path = inside(path)?;
        self.parents(&path);
        ensure!(!self.0.contains_key(&path), "{path} would be there twice");
        self.0.insert(path, Node { permissions, content: Some(content) });
        Ok(())
    }

    fn parents(&mut self, path: &str) {
        let ends = path.match_indices('/').map(|(at, _)| &path[..at]).filter(|parent| *parent != ".");
        for parent in ends {
            self.0.entry(parent.to_owned()).or_insert(Node { permissions: 0o755, content: None });
        }
    }

    /// Every node, each folder before what is in it.
    pub(crate) fn nodes(&self) -> impl Iterator<Item = (&str, &Node)> {
        self.0.iter().map(|(path, node)| (path.as_str(), node))
    }

    /// How many nodes there are.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// What all files hold together, in KiB.
    pub(crate) fn kilobytes(&self) -> usize {
        self.0.values().map(|node| node.length().div_ceil(1024)).sum()
    }
}

/// The path below the root of an absolute one.
fn inside(path: &str) -> Result<String> {
    ensure!(path.starts_with('/') && !path.ends_with('/'), "{path} is no absolute path");
    Ok(format!(".{path}"))
}
