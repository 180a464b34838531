//! The bill of materials: every path with mode, owner, size and checksum. Apple has not published the form; what is known
//! of it was found by others, and the reader `apple-bom` of the tests is one of theirs.
//!
//! A file of numbered blocks, with an index of where each lies, and variables, which are names for blocks. All numbers are
//! big-endian. The variable `Paths` is a tree; ours has one leaf.

use std::collections::{BTreeMap, VecDeque};

use anyhow::{Result, ensure};

use crate::tree::{Node, Tree};

/// The length of a tree's node, and so of our leaf.
const LEAF: usize = 4096;
/// The length of a node of the trees that are empty.
const EMPTY_LEAF: usize = 128;
/// What a leaf holds before its entries, and each entry.
const LEAF_HEAD: usize = 12;
const LEAF_ENTRY: usize = 8;
/// The header at the start of the file, with its padding.
const HEADER: usize = 512;

/// The bill of `tree`, everything root's and of the time `date`.
///
/// # Errors
/// When there are more paths than one leaf holds, or one is longer than 4 GiB.
pub(crate) fn bill(tree: &Tree, date: u32) -> Result<Vec<u8>> {
    let most = (LEAF - LEAF_HEAD) / LEAF_ENTRY;
    ensure!(tree.len() <= most, "{} paths are more than the {most} that our bill of materials holds", tree.len());
    let mut blocks = Blocks::default();
    // One empty entry for each kind of processor would follow; for an unknown one that is this.
    let information = blocks.add(numbers(&[1, u32::try_from(tree.len())? + 1, 0]));

    let mut entries = Vec::new();
    for (at, (parent, name, node)) in by_folder(tree).into_iter().enumerate() {
        let record = blocks.add(record(node, date)?);
        let found_by = blocks.add(numbers(&[u32::try_from(at)? + 1, record]));
        let file = blocks.add([&numbers(&[parent])[..], name.as_bytes(), &[0]].concat());
        entries.extend([found_by, file]);
    }
    let paths = blocks.tree(&entries, LEAF);
    let links = blocks.tree(&[], LEAF);
    let views = blocks.tree(&[], EMPTY_LEAF);
    let view = blocks.add([&numbers(&[1, views, 0])[..], &[0]].concat());
    let large = blocks.tree(&[], EMPTY_LEAF);
    blocks.file(&[("BomInfo", information), ("Paths", paths), ("HLIndex", links), ("VIndex", view), ("Size64", large)])
}

/// The nodes with the number of their folder and their name, sorted by both; a node's number is its place, from 1.
fn by_folder(tree: &Tree) -> Vec<(u32, &str, &Node)> {
    let mut folders: BTreeMap<&str, Vec<(&str, &str, &Node)>> = BTreeMap::new();
    for (path, node) in tree.nodes() {
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
        folders.entry(folder).or_default().push((path, name, node));
    }
    let mut sorted = Vec::new();
    let mut next = VecDeque::from([("", 0)]);
    while let Some((folder, number)) = next.pop_front() {
        for (path, name, node) in folders.remove(folder).unwrap_or_default() {
            sorted.push((number, name, node));
            next.push_back((path, u32::try_from(sorted.len()).unwrap_or(u32::MAX)));
        }
    }
    sorted
}

/// What is known of a path: kind, permissions, owner, time, size, checksum.
fn record(node: &Node, date: u32) -> Result<Vec<u8>> {
    // 1 is a file, 2 a folder; 15 stands for any processor.
    let mut record = vec![if node.content.is_some() { 1 } else { 2 }, 1];
    record.extend(15_u16.to_be_bytes());
    record.extend(node.mode().to_be_bytes());
    record.extend(numbers(&[0, 0, date, u32::try_from(node.length())?]));
    record.push(1);
    record.extend(numbers(&[node.content.as_deref().map_or(0, checksum), 0]));
    Ok(record)
}

fn numbers(values: &[u32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_be_bytes()).collect()
}

/// Block 0 is empty.
struct Blocks(Vec<Vec<u8>>);

impl Default for Blocks {
    fn default() -> Self {
        Self(vec![Vec::new()])
    }
}

impl Blocks {
    /// Adds a block and tells its number.
    fn add(&mut self, block: Vec<u8>) -> u32 {
        self.0.push(block);
        u32::try_from(self.0.len() - 1).unwrap_or(u32::MAX)
    }

    /// Adds a tree of one leaf that holds pairs of blocks: what is found, and by which key.
    fn tree(&mut self, pairs: &[u32], leaf_size: usize) -> u32 {
        let count = u16::try_from(pairs.len() / 2).unwrap_or(u16::MAX);
        let mut leaf = [1_u16, count].map(u16::to_be_bytes).concat();
        leaf.extend(numbers(&[0, 0]));
        leaf.extend(numbers(pairs));
        leaf.resize(leaf_size, 0);
        let leaf = self.add(leaf);
        let size = u32::try_from(leaf_size).unwrap_or(u32::MAX);
        self.add([&b"tree"[..], &numbers(&[1, leaf, size, u32::from(count)]), &[0]].concat())
    }

    /// The header, the variables, the blocks, and where each of them lies.
    fn file(self, variables: &[(&str, u32)]) -> Result<Vec<u8>> {
        let mut names = numbers(&[u32::try_from(variables.len())?]);
        for (name, block) in variables {
            names.extend(block.to_be_bytes());
            names.push(u8::try_from(name.len())?);
            names.extend(name.as_bytes());
        }
        let mut body = Vec::new();
        let mut index = numbers(&[u32::try_from(self.0.len())?]);
        for block in &self.0 {
            let at = if block.is_empty() { 0 } else { HEADER + names.len() + body.len() };
            index.extend(numbers(&[u32::try_from(at)?, u32::try_from(block.len())?]));
            body.extend(block);
        }
        // No block is free.
        index.extend(numbers(&[2, 0, 0, 0, 0]));
        let index_at = u32::try_from(HEADER + names.len() + body.len())?;
        let count = u32::try_from(self.0.len() - 1)?;
        let (names_length, index_length) = (u32::try_from(names.len())?, u32::try_from(index.len())?);
        let header = numbers(&[1, count, index_at, index_length, u32::try_from(HEADER)?, names_length]);
        let mut file = [&b"BOMStore"[..], &header].concat();
        file.resize(HEADER, 0);
        Ok([file, names, body, index].concat())
    }
}

/// The checksum of cksum(1).
pub(crate) fn checksum(content: &[u8]) -> u32 {
    let length = content.len().to_le_bytes();
    let digits = length.len() - length.iter().rev().take_while(|digit| **digit == 0).count();
    let mut sum = 0_u32;
    for byte in content.iter().chain(&length[..digits]) {
        sum ^= u32::from(*byte) << 24;
        for _ in 0..8 {
            sum = if sum & 0x8000_0000 == 0 { sum << 1 } else { sum << 1 ^ 0x04c1_1db7 };
        }
    }
    !sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_that_of_cksum() {
        // printf 123456789 | cksum; printf '' | cksum
        assert_eq!(checksum(b"123456789"), 930_766_865);
        assert_eq!(checksum(b""), 4_294_967_295);
    }

    #[test]
    fn more_paths_than_a_leaf_holds_are_refused() {
        let mut tree = Tree::new();
        (0..511).for_each(|at| tree.file(&format!("/{at}"), 0o644, Vec::new()).unwrap());
        assert!(bill(&tree, 0).unwrap_err().to_string().contains("512 paths are more than the 510"));
    }
}
