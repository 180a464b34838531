//! `include/cryprq_ipc.h` is what cbindgen makes of the crate.

use std::path::Path;

/// With `UPDATE_HEADER=1` it writes the file instead.
#[test]
fn the_header_is_what_the_crate_exports() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let config = cbindgen::Config::from_file(root.join("cbindgen.toml")).unwrap();
    let builder = ["status", "packets", "control", "names"]
        .into_iter()
        .fold(cbindgen::Builder::new().with_config(config), |builder, module| {
            builder.with_src(root.join("src").join(module).with_extension("rs"))
        });
    let mut made = Vec::new();
    builder.generate().unwrap().write(&mut made);
    let file = root.join("include/cryprq_ipc.h");
    if std::env::var_os("UPDATE_HEADER").is_some() {
        std::fs::write(&file, &made).unwrap();
    }
    let made = String::from_utf8(made).unwrap();
    assert_eq!(std::fs::read_to_string(file).unwrap(), made, "see UPDATE_HEADER");
    for function in [
        "cryprq_frame_header",
        "cryprq_frame_read",
        "cryprq_frame_write",
        "cryprq_hello_write",
        "cryprq_packets_add",
        "cryprq_packets_count",
        "cryprq_packets_next",
        "cryprq_status_text",
        "cryprq_error_name",
    ] {
        assert_eq!(made.matches(&format!("{function}(")).count(), 1, "{function}");
    }
}
