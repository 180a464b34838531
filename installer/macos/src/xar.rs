//! A xar archive: a header, a compressed table of contents in XML, and a heap that the table points into.

use std::io::Write;

use anyhow::{Context, Result};
use aws_lc_rs::digest::{self, SHA1_FOR_LEGACY_USE_ONLY};
use flate2::Compression;
use flate2::write::ZlibEncoder;
use jiff::Timestamp;

/// A file of the archive, or a folder of files.
pub(crate) enum Member {
    File(&'static str, Vec<u8>),
    Folder(&'static str, Vec<Member>),
}

/// The header's length in bytes.
const HEADER: u16 = 28;
/// The format's version, and its number for SHA-1, which Apple's own tools write too. Whether a package is genuine is what
/// its signature tells, not this.
const VERSION: u16 = 1;
const SHA1: u32 = 1;
/// The digest of the table is at the start of the heap.
const DIGEST: usize = 20;

/// `members` as an archive of the time `date`. Nothing is compressed: what is worth it is already.
///
/// # Errors
/// When the time is out of range.
pub(crate) fn archive(members: &[Member], date: u32) -> Result<Vec<u8>> {
    let made = Timestamp::from_second(date.into()).context("no such time")?.strftime("%Y-%m-%dT%H:%M:%S").to_string();
    let mut table = Table { xml: String::new(), heap: vec![0; DIGEST], last_id: 0 };
    members.iter().for_each(|member| table.add(member));
    let xml = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<xar><toc><creation-time>{made}</creation-time>\
         <checksum style=\"sha1\"><offset>0</offset><size>{DIGEST}</size></checksum>{}</toc></xar>\n",
        table.xml
    );
    let mut packed = ZlibEncoder::new(Vec::new(), Compression::best());
    packed.write_all(xml.as_bytes())?;
    let packed = packed.finish()?;
    let digest = digest::digest(&SHA1_FOR_LEGACY_USE_ONLY, &packed);
    table.heap[..DIGEST].copy_from_slice(digest.as_ref());

    let mut out = b"xar!".to_vec();
    out.extend(HEADER.to_be_bytes());
    out.extend(VERSION.to_be_bytes());
    out.extend((packed.len() as u64).to_be_bytes());
    out.extend((xml.len() as u64).to_be_bytes());
    out.extend(SHA1.to_be_bytes());
    out.extend(packed);
    out.extend(table.heap);
    Ok(out)
}

struct Table {
    xml: String,
    heap: Vec<u8>,
    last_id: u32,
}

impl Table {
    fn add(&mut self, member: &Member) {
        self.last_id += 1;
        let id = self.last_id;
        match member {
            Member::Folder(name, members) => {
                self.xml += &format!("<file id=\"{id}\"><name>{name}</name><type>directory</type><mode>0755</mode>");
                members.iter().for_each(|member| self.add(member));
            }
            Member::File(name, content) => {
                let (offset, length) = (self.heap.len(), content.len());
                let digest = hexadecimal(digest::digest(&SHA1_FOR_LEGACY_USE_ONLY, content).as_ref());
                self.xml += &format!(
                    "<file id=\"{id}\"><name>{name}</name><type>file</type><mode>0644</mode><data><length>{length}</length>\
                     <offset>{offset}</offset><size>{length}</size><encoding style=\"application/octet-stream\"/>\
                     <archived-checksum style=\"sha1\">{digest}</archived-checksum>\
                     <extracted-checksum style=\"sha1\">{digest}</extracted-checksum></data>"
                );
                self.heap.extend(content);
            }
        }
        self.xml += "</file>";
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
