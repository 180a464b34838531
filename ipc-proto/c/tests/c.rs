//! A C program reads the vectors through the header and the static library, under the address sanitizer.

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
