//! Names of users and groups.

use std::io;

use nix::unistd::{Gid, Group, Uid, User};

/// The id of a group, or `None` if there is no such group.
///
/// # Errors
/// When the user database cannot be read.
pub fn group_id(name: &str) -> io::Result<Option<u32>> {
    Ok(Group::from_name(name)?.map(|group| group.gid.as_raw()))
}

/// The id of a user, or `None` if there is no such user.
///
/// # Errors
/// When the user database cannot be read.
pub fn user_id(name: &str) -> io::Result<Option<u32>> {
    Ok(User::from_name(name)?.map(|user| user.uid.as_raw()))
}

/// All groups that a user belongs to now; empty for an unknown user.
///
/// # Errors
/// When the user database cannot be read.
pub fn groups_of(uid: u32) -> io::Result<Vec<u32>> {
    let Some(user) = User::from_uid(Uid::from_raw(uid))? else { return Ok(Vec::new()) };
    let name = std::ffi::CString::new(user.name)?;
    groups_of_name(&name, user.gid)
}

#[cfg(target_os = "linux")]
fn groups_of_name(name: &std::ffi::CStr, primary: Gid) -> io::Result<Vec<u32>> {
    Ok(nix::unistd::getgrouplist(name, primary)?.into_iter().map(Gid::as_raw).collect())
}

/// nix has no `getgrouplist` on macOS: the primary group alone, so that nobody gains a right by mistake.
#[cfg(target_os = "macos")]
fn groups_of_name(_name: &std::ffi::CStr, primary: Gid) -> io::Result<Vec<u32>> {
    Ok(vec![primary.as_raw()])
}

/// Our own effective user id.
pub fn effective_uid() -> u32 {
    nix::unistd::geteuid().as_raw()
}

/// The machine's host name, cut at the first dot.
pub fn host_name() -> Option<String> {
    let name = nix::unistd::gethostname().ok()?.into_string().ok()?;
    name.split('.').next().filter(|name| !name.is_empty()).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_is_known_and_nonsense_is_not() {
        assert_eq!(user_id("root").unwrap(), Some(0));
        assert_eq!(group_id("no-such-group-of-cryprq").unwrap(), None);
        assert!(groups_of(0).unwrap().contains(&0));
        assert!(groups_of(3_999_999_999).unwrap().is_empty());
    }
}
