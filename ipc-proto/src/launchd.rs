//! What the launchd job, the daemon and the installer have to agree on, besides the names of [`apple`](crate::apple).

/// The daemon's program.
pub const PROGRAM: &str = "/Library/PrivilegedHelperTools/dev.cryprq.daemon";
/// The command line's program: not in `/usr/local`, which on many Macs others than root may change.
pub const CLI: &str = "/opt/cryprq/bin/cryprq";
/// The job's property list.
pub const PROPERTY_LIST: &str = "/Library/LaunchDaemons/dev.cryprq.daemon.plist";
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
