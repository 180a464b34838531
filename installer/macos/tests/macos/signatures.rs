//! The reader of signatures, on programs that are signed here by hand, by what Apple publishes of the form.

use std::fs;
use std::process::{Command, Output};

use aws_lc_rs::digest::{SHA256, digest};

use crate::fixture::{readers, run};

const ARM: u32 = 0x0100_000c;
const PAGE: usize = 4096;
/// What is signed: two pages and some bytes of a third.
const LIMIT: usize = 2 * PAGE + 100;
const IDENTIFIER: &[u8] = b"dev.cryprq.test\0";
/// No requirements.
const REQUIREMENTS: [u32; 3] = [0xfade_0c01, 12, 0];

fn big(numbers: &[u32]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_be_bytes()).collect()
}

/// A Mach-O for arm64 up to its signature.
fn program() -> Vec<u8> {
    let head = [0xfeed_facf, ARM, 0, 2, 1, 16, 0, 0];
    let signature = [0x1d, 16, u32::try_from(LIMIT).expect("it is short"), 4096];
    let mut program: Vec<u8> = head.iter().chain(&signature).flat_map(|number| number.to_le_bytes()).collect();
    program.resize(LIMIT, 7);
    program
}

/// The code directory of [`program`], with the hashes of its pages and of its requirements.
fn directory(program: &[u8]) -> Vec<u8> {
    const HEAD: u32 = 88;
    let pages = program.chunks(PAGE).map(|page| digest(&SHA256, page));
    let requirements = digest(&SHA256, &big(&REQUIREMENTS));
    // The slots before the first page: requirements, and what there is nothing of.
    let mut slots = [requirements.as_ref(), &[0; 32]].concat();
    pages.for_each(|page| slots.extend(page.as_ref()));
    let hashes = HEAD + 16 + 2 * 32;
    let length = HEAD + 16 + u32::try_from(slots.len()).expect("it is short");
    let limit = u32::try_from(LIMIT).expect("it is short");
    let mut out = big(&[0xfade_0c02, length, 0x2_0400, 0x1_0002, hashes, HEAD, 2, 3, limit]);
    out.extend([32, 2, 0, 12]);
    out.resize(HEAD as usize, 0);
    out.extend(IDENTIFIER);
    out.extend(slots);
    out
}

fn signed() -> Vec<u8> {
    let mut out = program();
    let directory = directory(&out);
    let second = 28 + u32::try_from(directory.len()).expect("it is short");
    out.extend(big(&[0xfade_0cc0, second + 12, 2, 0, 28, 2, second]));
    out.extend(directory);
    out.extend(big(&REQUIREMENTS));
    out
}

fn read(program: &[u8]) -> Output {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("program");
    fs::write(&path, program).expect("a folder of the test takes it");
    run(Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/signatures")).arg(path))
}

#[test]
fn a_signature_is_read_and_each_changed_byte_of_what_it_is_about_is_found() {
    if !readers() {
        return;
    }
    let good = read(&signed());
    assert!(good.status.success(), "{}", String::from_utf8_lossy(&good.stderr));
    let told = String::from_utf8_lossy(&good.stdout).into_owned();
    assert_eq!(told, "program arm64: dev.cryprq.test, adhoc runtime, 3 pages match\n");

    let requirements = signed().len() - 1;
    let cases = [
        (40, "has a signature that is none"),
        (100, "differs in page 0"),
        (PAGE, "differs in page 1"),
        (LIMIT - 1, "differs in page 2"),
        (LIMIT, "has a signature that is none"),
        (requirements, "differs in special slot 2"),
    ];
    for (at, reason) in cases {
        let mut damaged = signed();
        damaged[at] ^= 1;
        let refused = read(&damaged);
        let told = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(refused.status.code() == Some(1) && told.lines().count() == 1, "{at}: {told}");
        assert!(told.contains("program for arm64 ") && told.contains(reason), "{at}: {told}");
    }
    let mut without = program();
    without[16] = 0;
    let refused = read(&without);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("has no signature"), "{refused:?}");
}
