//! The Xcode project cannot be opened here, so what can be known of it is checked: paths exist, and identifiers agree.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use cryprq_ipc_proto::apple;
use cryprq_tests::repository::root;

fn folder() -> PathBuf {
    root().join("apple-extension")
}

fn read(path: &str) -> String {
    fs::read_to_string(folder().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The settings of an xcconfig and of those it includes, variables of their own replaced.
fn settings(path: &str) -> BTreeMap<String, String> {
    let mut settings = BTreeMap::new();
    for line in read(path).lines().map(str::trim) {
        if let Some(included) = line.strip_prefix("#include ") {
            settings.extend(self::settings(&format!("Xcode/{}", included.trim_matches('"'))));
        } else if let Some((name, value)) = line.split_once(" = ").filter(|_| !line.starts_with("//")) {
            settings.insert(name.to_owned(), value.to_owned());
        }
    }
    loop {
        let known = settings.clone();
        for value in settings.values_mut() {
            for (name, replacement) in &known {
                *value = value.replace(&format!("$({name})"), replacement);
            }
        }
        if settings == known {
            return settings;
        }
    }
}

/// The string below a key of a property list, with the variables of a target replaced.
fn string(plist: &str, key: &str, settings: &BTreeMap<String, String>) -> String {
    let after = plist.split_once(&format!("<key>{key}</key>")).unwrap_or_else(|| panic!("no {key}")).1;
    let value = after.split_once("<string>").and_then(|(_, rest)| rest.split_once("</string>")).expect("a string").0;
    settings.iter().fold(value.to_owned(), |value, (name, to)| value.replace(&format!("$({name})"), to))
}

#[test]
fn the_constants_of_xcode_are_those_of_the_daemon() {
    let constants = settings("Xcode/Constants.xcconfig");
    for (name, value) in [
        ("CRYPRQ_TEAM_ID", apple::TEAM_ID),
        ("CRYPRQ_APP_ID", apple::APP_ID),
        ("CRYPRQ_TUNNEL_ID", apple::TUNNEL_ID),
        ("CRYPRQ_APP_GROUP", apple::APP_GROUP),
        ("CRYPRQ_MACH_SERVICE", apple::MACH_SERVICE),
    ] {
        assert_eq!(constants[name], value, "{name}");
    }
    assert_eq!(constants.len(), 5, "a constant that nobody compares: {constants:?}");
    assert!(apple::APP_GROUP.starts_with(&format!("{}.", apple::TEAM_ID)));
    assert!(apple::MACH_SERVICE.starts_with(&format!("{}.", apple::APP_GROUP)), "the sandbox forbids any other");
    assert!(apple::TUNNEL_ID.starts_with(&format!("{}.", apple::APP_ID)), "macOS wants it so");
    let requirement = format!(
        "anchor apple generic and identifier \"{}\" and certificate leaf[subject.OU] = \"{}\"",
        apple::TUNNEL_ID,
        apple::TEAM_ID
    );
    assert_eq!(apple::TUNNEL_REQUIREMENT, requirement);
}

#[test]
fn plists_and_entitlements_hold_what_the_targets_are() {
    let (app, tunnel) = (settings("Xcode/App.xcconfig"), settings("Xcode/Tunnel.xcconfig"));
    let (app_info, tunnel_info) = (read(&app["INFOPLIST_FILE"]), read(&tunnel["INFOPLIST_FILE"]));
    assert_eq!(string(&app_info, "CFBundleIdentifier", &app), apple::APP_ID);
    assert_eq!(string(&app_info, "CrypRQExtensionIdentifier", &app), apple::TUNNEL_ID);
    assert_eq!(string(&app_info, "CFBundlePackageType", &app), "APPL");
    assert_eq!(string(&tunnel_info, "CFBundleIdentifier", &tunnel), apple::TUNNEL_ID);
    assert_eq!(tunnel["PRODUCT_NAME"], apple::TUNNEL_ID, "a system extension is found by its file's name");
    assert_eq!(string(&tunnel_info, "CFBundlePackageType", &tunnel), "SYSX");
    assert_eq!(string(&tunnel_info, "CrypRQMachService", &tunnel), apple::MACH_SERVICE);
    let own_service = string(&tunnel_info, "NEMachServiceName", &tunnel);
    assert!(own_service.starts_with(&format!("{}.", apple::APP_GROUP)) && own_service != apple::MACH_SERVICE);
    let class = string(&tunnel_info, "com.apple.networkextension.packet-tunnel", &tunnel);
    assert_eq!(class, "PacketTunnel.PacketTunnelProvider");
    assert!(read("Sources/PacketTunnel/PacketTunnelProvider.swift").contains("class PacketTunnelProvider: NEPacket"));
    for info in [&app_info, &tunnel_info] {
        assert!(info.contains("<key>NSSystemExtensionUsageDescription</key>"));
    }
    let (app_rights, tunnel_rights) = (read(&app["CODE_SIGN_ENTITLEMENTS"]), read(&tunnel["CODE_SIGN_ENTITLEMENTS"]));
    for (rights, settings) in [(&app_rights, &app), (&tunnel_rights, &tunnel)] {
        assert_eq!(string(rights, "com.apple.security.application-groups", settings), apple::APP_GROUP);
        let provider = string(rights, "com.apple.developer.networking.networkextension", settings);
        assert_eq!(provider, "packet-tunnel-provider-systemextension");
    }
    assert!(app_rights.contains("<key>com.apple.developer.system-extension.install</key>\n    <true/>"));
    assert!(tunnel_rights.contains("<key>com.apple.security.app-sandbox</key>\n    <true/>"));
}

#[test]
fn every_path_of_the_project_exists() {
    let project = read("project.yml");
    let mut looked = 0;
    for line in project.lines().map(str::trim).filter(|line| !line.starts_with('#')) {
        let value = line.split_once(": ").map_or(line, |(_, value)| value).trim_start_matches("- ");
        if value.contains('/') && !value.starts_with("$(") {
            assert!(folder().join(value).exists(), "{line}");
            looked += 1;
        }
    }
    assert!(looked >= 9, "the search finds only {looked} paths");
    let used: Vec<PathBuf> = fs::read_dir(folder().join("Xcode")).unwrap().map(|entry| entry.unwrap().path()).collect();
    for file in used {
        let name = file.file_name().and_then(|name| name.to_str()).expect("a name in UTF-8").to_owned();
        let named = ["project.yml", "Xcode/App.xcconfig", "Xcode/Tunnel.xcconfig", "Xcode/Shared.xcconfig"];
        assert!(named.iter().any(|by| read(by).contains(&name)), "nothing uses Xcode/{name}");
    }
}

#[test]
fn swift_and_rust_mean_the_same_message_and_the_same_sockets() {
    let door = read("Sources/PacketTunnel/XPCDoor.swift");
    assert!(door.contains(&format!("static let key = \"{}\"", apple::XPC_SOCKET)));
    let client = read("Sources/CrypRQTunnelKit/ControlClient.swift");
    for paths in [cryprq_ipc_proto::paths::MACOS, cryprq_ipc_proto::paths::LINUX] {
        let socket = paths.control_socket();
        assert!(client.contains(&format!("\"{}\"", socket.display())), "{}", socket.display());
    }
    let menu = read("Sources/CrypRQTunnelKit/MenuModel.swift");
    assert!(menu.contains(&format!("launchctl kickstart system/{}", apple::DAEMON_LABEL)));
}

#[test]
fn the_kit_needs_no_framework_of_apples_and_the_provider_is_short() {
    let kit = fs::read_dir(folder().join("Sources/CrypRQTunnelKit")).unwrap();
    let kit: Vec<String> = kit.map(|file| fs::read_to_string(file.unwrap().path()).unwrap()).collect();
    let imports = kit.iter().flat_map(|text| text.lines()).filter_map(|line| line.trim().strip_prefix("import "));
    let imported: BTreeSet<&str> = imports.collect();
    // The C library by its two names, for sockets.
    assert_eq!(imported, ["CCrypRQIPC", "Darwin", "Foundation", "Glibc"].into());
    let lines = read("Sources/PacketTunnel/PacketTunnelProvider.swift").lines().count();
    assert!(lines <= 150, "the provider only translates, and has {lines} lines");
}

/// The library that Xcode and a release of the Swift programs link catches panics at its border, so it has to unwind.
#[test]
fn what_swift_links_is_built_by_the_profile_that_unwinds() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let manifest: toml::Table = manifest.parse().unwrap();
    let profiles = &manifest["profile"];
    assert_eq!(profiles["release"]["panic"].as_str(), Some("abort"), "else there is nothing to look after");
    assert_eq!(profiles["release-library"]["inherits"].as_str(), Some("release"));
    assert_eq!(profiles["release-library"]["panic"].as_str(), Some("unwind"));
    assert_eq!(profiles["dev"].get("panic"), None);
    assert!(read("Xcode/build-ipc").contains("profile=release-library\n"));
    assert!(read("check").contains("profile=release-library "));
}

#[test]
fn the_job_of_launchd_serves_the_mach_service() {
    let job = root().join("launchd").join(format!("{}.plist", apple::DAEMON_LABEL));
    // Without the package for macOS there is no job yet; with it, it has to agree.
    let Ok(job) = fs::read_to_string(&job) else {
        assert!(!Path::new(&root()).join("installer/macos").exists(), "a package without {}", job.display());
        return;
    };
    let none = BTreeMap::new();
    assert_eq!(string(&job, "Label", &none), apple::DAEMON_LABEL);
    let services = job.split_once("<key>MachServices</key>").expect("it has Mach services").1;
    assert!(
        services
            .trim_start()
            .trim_start_matches("<dict>")
            .trim_start()
            .starts_with(&format!("<key>{}</key>", apple::MACH_SERVICE))
    );
}
