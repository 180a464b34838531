//! What the launchd job, the daemon, the installer and the app have to agree on.

/// The job's label.
pub const LABEL: &str = "dev.cryprq.daemon";
/// The daemon's program.
pub const PROGRAM: &str = "/Library/PrivilegedHelperTools/dev.cryprq.daemon";
/// The command line's program.
pub const CLI: &str = "/usr/local/bin/cryprq";
/// The job's property list.
pub const PROPERTY_LIST: &str = "/Library/LaunchDaemons/dev.cryprq.daemon.plist";
/// The app's bundle.
pub const APP: &str = "dev.cryprq.app";
/// The app group of app and extension; `TEAMID` is put in by the release script.
pub const APP_GROUP: &str = "TEAMID.dev.cryprq";
/// The Mach service of the daemon: a child of the app group, so that a sandboxed extension may look it up.
pub const MACH_SERVICE: &str = "TEAMID.dev.cryprq.daemon";
/// What the service manager calls the control socket: launchd's `Sockets` entry, systemd's `FileDescriptorName=`.
pub const CONTROL_SOCKET_NAME: &str = "Control";
/// The control socket's mode.
pub const CONTROL_SOCKET_MODE: u32 = 0o660;
/// The control socket's group.
pub const GROUP: &str = "_cryprq";
/// The number of that group, unless the installer finds it taken.
pub const GROUP_ID: u32 = 341;
/// Where the daemon's standard error goes.
pub const LOG: &str = "/Library/Logs/CrypRQ/cryprqd.log";
