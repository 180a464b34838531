#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    cryprq_tests::fuzzing::run("demux", bytes);
});
