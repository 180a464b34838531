//! A C program reads the vectors through the header and the static library, under the address sanitizer, and the library
//! is what the header says.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

/// The static library that was built together with this test, in the same folder.
fn library() -> PathBuf {
    let test = std::env::current_exe().expect("a test is a file");
    let built = std::fs::read_dir(test.parent().expect("in a folder")).expect("that can be read").filter_map(|entry| {
        let path = entry.ok()?.path();
        let name = path.file_name()?.to_str()?;
        let fits = name.starts_with("libcryprq_ipc") && !name.starts_with("libcryprq_ipc_") && name.ends_with(".a");
        let made = path.metadata().and_then(|metadata| metadata.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
        fits.then_some((made, path))
    });
    built.max().expect("cargo builds the static library with the tests").1
}

#[test]
fn attack_08_c_reads_every_vector_under_the_address_sanitizer() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("vectors");
    let compiled = Command::new("cc")
        .args([
            "-std=gnu11",
            "-Wall",
            "-Wextra",
            "-Werror",
            "-g",
            "-fsanitize=address,undefined",
            "-fno-sanitize-recover",
        ])
        .arg("-I")
        .arg(root.join("include"))
        .arg(root.join("tests/vectors.c"))
        .arg(library())
        .args(["-lpthread", "-ldl", "-lm", "-o"])
        .arg(&program)
        .output()
        .expect("tests/check wants a C compiler");
    assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
    let ran = Command::new(&program).arg(root.join("../vectors")).output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    assert!(ran.status.success(), "{out}{err}");
    let frames: usize = out.trim().parse().unwrap();
    assert!(frames > 100, "it looked at too little: {frames}");
}

/// What `nm` tells of the library's symbols that others see.
fn symbols() -> String {
    let told = Command::new("nm").args(["--defined-only", "--extern-only"]).arg(library()).output();
    let told = told.expect("nm comes with the C compiler");
    assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
    String::from_utf8(told.stdout).expect("nm speaks UTF-8")
}

#[test]
fn the_library_exports_the_functions_of_the_header_and_no_others() {
    let header = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("include/cryprq_ipc.h")).unwrap();
    let code = header.lines().filter(|line| !line.starts_with("//"));
    let before_brackets = code.filter_map(|line| line.split_once('(')?.0.split([' ', '*']).next_back());
    let declared: BTreeSet<&str> = before_brackets.filter(|name| name.starts_with("cryprq_")).collect();
    assert!(declared.len() >= 9, "{declared:?}");
    let told = symbols();
    let exported = told.lines().filter_map(|line| Some(line.rsplit_once(' ')?.1));
    let exported: BTreeSet<&str> = exported.filter(|name| name.starts_with("cryprq_")).collect();
    assert_eq!(exported, declared);
}

#[test]
fn the_library_unwinds_so_that_a_panic_ends_at_its_border() {
    let told = symbols();
    let has = |part: &str| told.lines().any(|line| line.starts_with(part) && line.ends_with(".o:"));
    assert!(has("panic_unwind-") && !has("panic_abort-"), "the library is built to abort");
}
