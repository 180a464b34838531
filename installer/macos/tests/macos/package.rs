//! The package, read back by bsdtar, cpio, apple-bom and Python.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use apple_bom::{BomPathType, ParsedBom};
use cryprq_ipc_proto::{apple, launchd};

use crate::fixture::{DATE, Fixture, printed, readers, run, thin, universal};

/// Each folder and file of the package and its mode. All of it is root's.
const PLACES: [(&str, u32); 36] = [
    (".", 0o040_755),
    ("./Library", 0o040_755),
    ("./Library/LaunchDaemons", 0o040_755),
    ("./Library/LaunchDaemons/dev.cryprq.daemon.plist", 0o100_644),
    ("./Library/PrivilegedHelperTools", 0o041_755),
    ("./Library/PrivilegedHelperTools/dev.cryprq.daemon", 0o100_755),
    ("./opt", 0o040_755),
    ("./opt/cryprq", 0o040_755),
    ("./opt/cryprq/bin", 0o040_755),
    ("./opt/cryprq/bin/cryprq", 0o100_755),
    ("./opt/cryprq/share", 0o040_755),
    ("./opt/cryprq/share/bash-completion", 0o040_755),
    ("./opt/cryprq/share/bash-completion/completions", 0o040_755),
    ("./opt/cryprq/share/bash-completion/completions/cryprq", 0o100_644),
    ("./opt/cryprq/share/doc", 0o040_755),
    ("./opt/cryprq/share/doc/LICENSE-MIT", 0o100_644),
    ("./opt/cryprq/share/fish", 0o040_755),
    ("./opt/cryprq/share/fish/vendor_completions.d", 0o040_755),
    ("./opt/cryprq/share/fish/vendor_completions.d/cryprq.fish", 0o100_644),
    ("./opt/cryprq/share/man", 0o040_755),
    ("./opt/cryprq/share/man/man1", 0o040_755),
    ("./opt/cryprq/share/man/man1/cryprq-status.1", 0o100_644),
    ("./opt/cryprq/share/man/man1/cryprq.1", 0o100_644),
    ("./opt/cryprq/share/man/man8", 0o040_755),
    ("./opt/cryprq/share/man/man8/cryprqd.8", 0o100_644),
    ("./opt/cryprq/share/version", 0o100_644),
    ("./opt/cryprq/share/zsh", 0o040_755),
    ("./opt/cryprq/share/zsh/site-functions", 0o040_755),
    ("./opt/cryprq/share/zsh/site-functions/_cryprq", 0o100_644),
    ("./opt/cryprq/uninstall.sh", 0o100_755),
    ("./private", 0o040_755),
    ("./private/etc", 0o040_755),
    ("./private/etc/newsyslog.d", 0o040_755),
    ("./private/etc/newsyslog.d/dev.cryprq.conf", 0o100_644),
    ("./private/etc/paths.d", 0o040_755),
    ("./private/etc/paths.d/dev.cryprq", 0o100_644),
];
fn places() -> BTreeMap<String, u32> {
    PLACES.iter().map(|(path, mode)| ((*path).to_owned(), *mode)).collect()
}

/// Spoils one of the parts.
type Spoil<'s> = &'s dyn Fn(&Fixture);

/// What a reader says of a path: mode, owner, group, length.
type Seen = BTreeMap<String, (u32, u32, u32, u64)>;

fn by_bsdtar(archive: &Path) -> Seen {
    let mut command = Command::new("bsdtar");
    command.args([
        "-cf",
        "-",
        "--format",
        "mtree",
        "--options",
        "mtree:!all,mtree:type,mtree:mode,mtree:uid,mtree:gid,mtree:size",
    ]);
    let told = printed(command.arg(format!("@{}", archive.display())));
    let lines = told.lines().filter(|line| line.starts_with('.'));
    let seen = lines.map(|line| {
        let (path, words) = line.split_once(' ').expect("words");
        let words: BTreeMap<&str, &str> = words.split(' ').filter_map(|word| word.split_once('=')).collect();
        let kind = if words["type"] == "dir" { 0o040_000 } else { 0o100_000 };
        let number = |key: &str| words.get(key).map_or(0, |word| word.parse().expect("a number"));
        let mode = u32::from_str_radix(words["mode"], 8).expect("octal");
        (path.to_owned(), (kind | mode, number("uid"), number("gid"), number("size").into()))
    });
    seen.collect()
}

fn by_cpio(archive: &Path) -> Vec<String> {
    let told = printed(Command::new("sh").args(["-c", "gzip -dc \"$0\" | cpio -itvn --quiet"]).arg(archive));
    told.lines().map(|line| line.split_whitespace().last().expect("a name").to_owned()).collect()
}

/// What all readers say alike of a payload, which is unpacked into `root`: each path with mode, owner, group and length.
fn read_back(component: &Path, root: &Path) -> Seen {
    let seen = by_bsdtar(&component.join("Payload"));
    assert!(seen.values().all(|(_, owner, group, _)| (*owner, *group) == (0, 0)), "{seen:?}");
    let mut listed: Vec<String> =
        by_cpio(&component.join("Payload")).iter().map(|path| format!("./{}", path.trim_start_matches("./"))).collect();
    listed.retain(|path| path != "./.");
    listed.sort();
    assert_eq!(listed, seen.keys().filter(|path| *path != ".").cloned().collect::<Vec<_>>());

    fs::create_dir(root).expect("it is there");
    let unpacked = Command::new("sh")
        .args(["-c", "cd \"$0\" && gzip -dc \"$1\" | cpio -idm --quiet"])
        .args([root, &component.join("Payload")])
        .status();
    assert!(unpacked.expect("it is there").success());
    let bill = fs::read(component.join("Bom")).expect("it is there");
    let bill = ParsedBom::parse(&bill).expect("a bill of materials");
    let paths = bill.paths().expect("its paths");
    assert_eq!(paths.len(), seen.len());
    for path in paths {
        let (mode, owner, group, length) = seen[path.path()];
        assert_eq!(u32::from(path.file_mode()), mode, "{}", path.path());
        assert_eq!((path.user_id(), path.group_id()), (owner, group), "{}", path.path());
        if matches!(path.path_type(), BomPathType::File) {
            assert_eq!(path.size() as u64, length, "{}", path.path());
            let told = printed(Command::new("cksum").arg(root.join(path.path())));
            let sum = told.split(' ').next().and_then(|sum| sum.parse().ok());
            assert_eq!(path.crc32(), sum, "{}", path.path());
        }
    }
    assert_eq!(bill.bom_info().expect("it is there").number_of_paths as usize, seen.len() + 1);
    for empty in [
        bill.hl_index().expect("it is there"),
        bill.size64().expect("it is there"),
        bill.vindex().expect("it is there"),
    ] {
        assert!(empty.is_empty());
    }
    seen
}

fn modes(seen: &Seen) -> BTreeMap<String, u32> {
    seen.iter().map(|(path, (mode, ..))| (path.clone(), *mode)).collect()
}

#[test]
fn every_file_has_its_place_owner_mode_and_checksum_for_each_reader() {
    if !readers() {
        return;
    }
    let fixture = Fixture::new();
    let (_, parts) = fixture.package("1.2.3");
    let (component, root) = (parts.join("daemon.pkg"), fixture.path("root"));
    let seen = read_back(&component, &root);
    assert_eq!(modes(&seen), places());
    let bill = fs::read(component.join("Bom")).unwrap();
    for path in ParsedBom::parse(&bill).expect("a bill of materials").paths().expect("its paths") {
        assert_eq!(path.modified_time().timestamp(), i64::from(DATE), "{}", path.path());
    }

    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    for (place, from) in [
        (launchd::PROGRAM, fixture.path("programs/cryprqd")),
        (launchd::CLI, fixture.path("programs/cryprq")),
        (launchd::PROPERTY_LIST, repository.join("launchd/dev.cryprq.daemon.plist")),
        ("/private/etc/newsyslog.d/dev.cryprq.conf", repository.join("launchd/dev.cryprq.newsyslog.conf")),
        ("/opt/cryprq/share/man/man8/cryprqd.8", repository.join("installer/man/cryprqd.8")),
        ("/opt/cryprq/uninstall.sh", repository.join("installer/macos/uninstall.sh")),
        ("/opt/cryprq/share/zsh/site-functions/_cryprq", fixture.path("parts/cryprq.zsh")),
    ] {
        assert!(fs::read(root.join(&place[1..])).unwrap() == fs::read(&from).unwrap(), "{place}");
    }
    assert_eq!(fs::read_to_string(root.join("private/etc/paths.d/dev.cryprq")).unwrap(), "/opt/cryprq/bin\n");
}

/// The package that installer/macos/build has made of programs that were linked for a Mac: it calls this, with the paths.
#[cfg(feature = "built-package")]
#[test]
fn a_package_of_real_programs_reads_back_with_its_signatures() {
    let package = std::env::var_os("CRYPRQ_PACKAGE").expect("CRYPRQ_PACKAGE is the path of a package");
    assert!(readers(), "a reader is missing");
    let folder = tempfile::tempdir().unwrap();
    let (parts, root) = (folder.path().join("parts"), folder.path().join("root"));
    fs::create_dir(&parts).unwrap();
    printed(Command::new("bsdtar").arg("-xf").arg(&package).arg("-C").arg(&parts));
    let seen = modes(&read_back(&parts.join("daemon.pkg"), &root));
    for (path, mode) in places() {
        assert_eq!(seen.get(&path), Some(&mode), "{path}");
    }
    // And nothing else but pages, licences and the bill of materials.
    for path in seen.keys().filter(|path| !places().contains_key(*path)) {
        let more = ["./opt/cryprq/share/man/man1/", "./opt/cryprq/share/doc/"];
        assert!(more.iter().any(|folder| path.starts_with(folder)), "{path}");
    }
    let told = signatures(&package);
    for (path, identifier) in [(launchd::PROGRAM, apple::DAEMON_LABEL), (launchd::CLI, "dev.cryprq.cli")] {
        for processor in ["arm64", "x86_64"] {
            let line = format!("{path} {processor}: {identifier}, adhoc runtime, ");
            assert!(told.lines().any(|told| told.starts_with(&line)), "{line} in {told}");
        }
    }
    assert!(!told.contains("signature "), "{told}");

    // The signed one has two signatures over its table, and everything else of the first.
    let signed = std::env::var_os("CRYPRQ_SIGNED_PACKAGE").expect("CRYPRQ_SIGNED_PACKAGE is the path of a package");
    let told_signed = signatures(&signed);
    for signature in ["signature RSA", "x-signature CMS"] {
        let says = |line: &str| line.contains(&format!(": {signature} by CN=CrypRQ")) && line.ends_with(" verifies");
        assert!(told_signed.lines().any(says), "{signature} in {told_signed}");
    }
    assert!(told_signed.ends_with(&told), "{told_signed}");
    let parts_signed = folder.path().join("signed");
    fs::create_dir(&parts_signed).unwrap();
    printed(Command::new("bsdtar").arg("-xf").arg(&signed).arg("-C").arg(&parts_signed));
    printed(Command::new("diff").arg("-r").arg(&parts).arg(&parts_signed));

    // A changed byte is found: of the table, of its signature, of a program.
    let whole = fs::read(&signed).unwrap();
    let heap = 28 + usize::try_from(u64::from_be_bytes(whole[8..16].try_into().unwrap())).unwrap();
    for at in [40, heap + 24, whole.len() / 2] {
        let mut damaged = whole.clone();
        damaged[at] ^= 1;
        let path = folder.path().join("damaged.pkg");
        fs::write(&path, damaged).unwrap();
        assert!(!run(Command::new(SIGNATURES).arg(&path)).status.success(), "byte {at}");
    }
}

#[cfg(feature = "built-package")]
const SIGNATURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/signatures");

/// What our reader says of the signatures of a package.
#[cfg(feature = "built-package")]
fn signatures(package: &std::ffi::OsStr) -> String {
    printed(Command::new(SIGNATURES).arg(package))
}

#[test]
fn the_scripts_are_the_repositorys_and_may_be_run() {
    if !readers() {
        return;
    }
    let fixture = Fixture::new();
    let (_, parts) = fixture.package("1.2.3");
    let archive = parts.join("daemon.pkg/Scripts");
    let seen: Vec<_> = modes(&by_bsdtar(&archive)).into_iter().collect();
    let expected =
        [(".", 0o040_755), ("./common.sh", 0o100_644), ("./postinstall", 0o100_755), ("./preinstall", 0o100_755)];
    let expected = expected.into_iter().chain([("./version", 0o100_644)]);
    assert_eq!(seen, expected.map(|(path, mode)| (path.to_owned(), mode)).collect::<Vec<_>>());
    for name in ["common.sh", "preinstall", "postinstall"] {
        let packed = printed(Command::new("bsdtar").arg("-xOf").arg(&archive).arg(format!("./{name}")));
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts").join(name);
        assert_eq!(packed, fs::read_to_string(file).unwrap(), "{name}");
    }
    assert_eq!(printed(Command::new("bsdtar").arg("-xOf").arg(&archive).arg("./version")), "1.2.3\n");
}

#[test]
fn the_installer_is_told_one_component_for_both_processors_and_no_other_volume() {
    if !readers() {
        return;
    }
    let fixture = Fixture::new();
    let (_, parts) = fixture.package("1.2.3");
    const READ: &str = "import sys, xml.etree.ElementTree as tree
for file in sys.argv[1:]:
    for node in tree.parse(file).iter():
        print(node.tag, *(f'{key}={value}' for key, value in sorted(node.items())), (node.text or '').strip())";
    let files = ["Distribution", "daemon.pkg/PackageInfo"].map(|file| parts.join(file));
    let told = printed(Command::new("python3").args(["-c", READ]).args(files));
    let says = |line: &str| assert!(told.lines().any(|told| told.trim() == line), "{line}\nin\n{told}");
    let id = apple::DAEMON_LABEL;
    says("options customize=never hostArchitectures=arm64,x86_64 require-scripts=true rootVolumeOnly=true");
    says("domains enable_anywhere=false enable_currentUserHome=false enable_localSystem=true");
    says("os-version min=13.0");
    let sizes = by_bsdtar(&parts.join("daemon.pkg/Payload")).into_values().map(|(.., length)| length.div_ceil(1024));
    let size: u64 = sizes.sum();
    says(&format!("pkg-ref id={id} installKBytes={size} onConclusion=none version=1.2.3 #daemon.pkg"));
    says(&format!(
        "pkg-info auth=root format-version=2 identifier={id} install-location=/ overwrite-permissions=true \
         postinstall-action=none relocatable=false version=1.2.3"
    ));
    says(&format!("payload installKBytes={size} numberOfFiles={}", places().len()));
    says("preinstall file=./preinstall");
    says("postinstall file=./postinstall");
}

#[test]
fn the_same_input_gives_the_same_bytes_and_a_changed_byte_is_found() {
    if !readers() {
        return;
    }
    let fixture = Fixture::new();
    let (package, _) = fixture.package("1.2.3");
    let first = fs::read(&package).unwrap();
    // Other folders, whose files were made in another order and at another time.
    let other = Fixture::new();
    let mut again = other.command("other.pkg");
    assert!(again.args(["--package-version", "1.2.3"]).current_dir("/").status().unwrap().success());
    assert!(fs::read(other.path("other.pkg")).unwrap() == first, "two packages of the same files differ");
    let later = other.command("later.pkg").env("SOURCE_DATE_EPOCH", "1").status().unwrap();
    assert!(later.success() && fs::read(other.path("later.pkg")).unwrap() != first, "the date is not in it");

    // The end of the heap is the end of the scripts.
    let mut damaged = first;
    *damaged.last_mut().unwrap() ^= 1;
    fs::write(&package, damaged).unwrap();
    assert!(!run(Command::new("bsdtar").arg("-xOf").arg(&package)).status.success());
}

#[test]
fn what_cannot_be_shipped_ends_in_one_line_and_no_package() {
    let cases: [(&str, Spoil<'_>, &str); 7] = [
        ("no program", &|at| fs::remove_file(at.path("programs/cryprqd")).unwrap(), "programs/cryprqd: No such file"),
        ("Linux", &|at| fs::write(at.path("programs/cryprq"), b"\x7fELF\x02\x01\x01\0").unwrap(), "is no Mach-O file"),
        ("one processor", &|at| fs::write(at.path("programs/cryprqd"), thin(0x0100_000c)).unwrap(), "for arm64 alone"),
        (
            "cut off",
            &|at| fs::write(at.path("programs/cryprqd"), &universal("")[..100]).unwrap(),
            "cryprqd cannot be shipped: it is cut off",
        ),
        ("no pages", &|at| fs::remove_dir_all(at.path("parts/man")).unwrap(), "parts/man"),
        ("no completions", &|at| fs::remove_file(at.path("parts/cryprq.zsh")).unwrap(), "cryprq.zsh"),
        ("no licence", &|at| fs::remove_file(at.path("LICENSE-MIT")).unwrap(), "LICENSE-MIT"),
    ];
    for (name, spoil, reason) in cases {
        let fixture = Fixture::new();
        spoil(&fixture);
        let output = run(&mut fixture.command("out.pkg"));
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{name}: {told}");
        assert!(told.lines().count() == 1 && told.contains(reason), "{name}: {told}");
        assert!(!fixture.path("out.pkg").exists() && !fixture.path("out.pkg.new").exists(), "{name}");
    }
    let fixture = Fixture::new();
    for (argument, reason) in [("1.2", "no version"), ("1.2.x", "no version"), ("1.2.3 <b>", "no version")] {
        let told = run(fixture.command("out.pkg").args(["--package-version", argument]));
        assert!(!told.status.success() && String::from_utf8_lossy(&told.stderr).contains(reason), "{argument}");
    }
    let undated = run(fixture.command("out.pkg").env_remove("SOURCE_DATE_EPOCH"));
    assert!(String::from_utf8_lossy(&undated.stderr).contains("--date"), "{undated:?}");
    fs::create_dir(fixture.path("taken.pkg")).unwrap();
    let taken = run(&mut fixture.command("taken.pkg"));
    assert!(String::from_utf8_lossy(&taken.stderr).contains("cannot write"), "{taken:?}");
    assert!(!fixture.path("taken.pkg.new").exists());
    let nowhere = run(&mut fixture.command("no/folder/out.pkg"));
    assert!(String::from_utf8_lossy(&nowhere.stderr).contains("cannot write"), "{nowhere:?}");
}
