//! What is installed beside the programs: the jobs of systemd and launchd, the configuration, the man page.

mod activation;
mod inventory;
mod launchd;
mod systemd;
