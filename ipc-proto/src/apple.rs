//! Who this software is on a Mac: identifiers that launchd, XPC and code signing know it by.
//!
//! `apple-extension/Xcode/Constants.xcconfig` says the same to Xcode; a test compares both, and launchd's job.

/// Apple's id of the team that signs. A placeholder, until somebody who builds for Macs puts theirs here.
pub const TEAM_ID: &str = "TEAMID";
/// The menu-bar app's bundle.
pub const APP_ID: &str = "dev.cryprq.app";
/// The packet-tunnel extension's bundle.
pub const TUNNEL_ID: &str = "dev.cryprq.app.tunnel";
/// The group that the extension is in.
pub const APP_GROUP: &str = "TEAMID.dev.cryprq";
/// The daemon's job in launchd.
pub const DAEMON_LABEL: &str = "dev.cryprq.daemon";
/// Where the daemon takes extensions. A child of the group, which is what a sandboxed extension may look up.
pub const MACH_SERVICE: &str = "TEAMID.dev.cryprq.daemon";
/// The key of the extension's one message, whose value is its end of a socket pair.
pub const XPC_SOCKET: &str = "socket";
/// The code-signing requirement that whoever sends that message must fulfil.
pub const TUNNEL_REQUIREMENT: &str =
    r#"anchor apple generic and identifier "dev.cryprq.app.tunnel" and certificate leaf[subject.OU] = "TEAMID""#;
