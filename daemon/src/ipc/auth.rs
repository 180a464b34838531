//! Who may do what: by the kernel's word about the caller, asked again for each request that changes something.

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError, RwLock};

use cryprq_ipc_proto::error::{ErrorBody, ErrorCode};
use cryprq_ipc_proto::message::Request;
use cryprq_ipc_proto::verb::Tier;
use os::peercred::Credentials;
use os::users;

use crate::config::{Access, Who};

/// A local caller, as it was when it connected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The kernel's word; `None` when it gave none, and then the caller may do nothing.
    pub credentials: Option<Credentials>,
}

/// The rules, shared by all clones.
#[derive(Clone, Debug)]
pub struct Authority {
    access: Arc<RwLock<Access>>,
    group: String,
}

impl Authority {
    /// Rules of the configuration; `group` is the one that a refusal tells people to join.
    pub fn new(access: Access, group: String) -> Self {
        Self { access: Arc::new(RwLock::new(access)), group }
    }

    /// Judges by other rules from now on.
    pub fn set_access(&self, access: Access) {
        *self.access.write().unwrap_or_else(PoisonError::into_inner) = access;
    }

    /// Whether the caller may make this request now.
    ///
    /// # Errors
    /// The refusal, with the command that mends it.
    pub fn check(&self, caller: &Caller, request: &Request) -> Result<(), ErrorBody> {
        let tier = request.tier();
        let refused = |message: String| ErrorBody::new(ErrorCode::PermissionDenied, message);
        let Some(credentials) = &caller.credentials else {
            return Err(refused("the system does not say who you are".into()));
        };
        let rules = self.rules(tier);
        if credentials.uid == 0 || rules.iter().any(|rule| matches(rule, credentials, tier)) {
            return Ok(());
        }
        let message =
            format!("user {} may not '{}', which needs the right to {}", credentials.uid, request.name(), tier.name());
        let hint = if rules.contains(&Who::Group(self.group.clone())) {
            format!("sudo usermod -aG {} $USER, then log in again", self.group)
        } else {
            format!("sudo cryprq {}", request.command())
        };
        Err(refused(message).hint(hint))
    }

    fn rules(&self, tier: Tier) -> BTreeSet<Who> {
        let access = self.access.read().unwrap_or_else(PoisonError::into_inner);
        match tier {
            Tier::Observe => access.observe.clone(),
            Tier::Operate => access.operate.clone(),
            Tier::Admin => access.admin.clone(),
        }
    }
}

fn matches(rule: &Who, credentials: &Credentials, tier: Tier) -> bool {
    match rule {
        Who::Root => credentials.uid == 0,
        Who::User(name) => users::user_id(name).is_ok_and(|uid| uid == Some(credentials.uid)),
        Who::Group(name) => users::group_id(name).ok().flatten().is_some_and(|gid| {
            // A connection may outlive its owner's membership: for changes the user database has to agree.
            credentials.in_group(gid) && (tier == Tier::Observe || is_member_now(credentials.uid, gid))
        }),
    }
}

fn is_member_now(uid: u32, gid: u32) -> bool {
    users::groups_of(uid).is_ok_and(|groups| groups.contains(&gid))
}

#[cfg(test)]
mod tests {
    use cryprq_ipc_proto::json::read_request;
    use cryprq_ipc_proto::verb::VERBS;

    use super::*;

    fn authority() -> Authority {
        let group = || BTreeSet::from([Who::Group("daemon".into())]);
        let access = Access { observe: group(), operate: group(), admin: BTreeSet::from([Who::Root]) };
        Authority::new(access, "daemon".into())
    }

    fn caller(uid: u32, groups: &[u32]) -> Caller {
        Caller { credentials: Some(Credentials { uid, gid: uid, groups: groups.to_vec() }) }
    }

    fn requests() -> impl Iterator<Item = (Request, Tier)> {
        VERBS.iter().map(|verb| {
            let forms = ["", r#","peer":"p""#, r#","level":"info""#, r#","ticket":"t""#, r#","invite":"i""#];
            let request = forms
                .iter()
                .find_map(|fields| read_request(format!(r#"{{"cmd":"{}"{fields}}}"#, verb.name).as_bytes()).ok());
            (request.expect("one of these forms fits every verb").request, verb.tier)
        })
    }

    #[test]
    fn root_may_do_everything() {
        assert!(requests().all(|(request, _)| authority().check(&caller(0, &[]), &request).is_ok()));
    }

    #[test]
    fn attack_01_who_is_in_no_group_may_do_nothing_and_is_told_what_mends_it() {
        for (request, _) in requests() {
            let refused = authority().check(&caller(4_000_000, &[]), &request).unwrap_err();
            assert_eq!(refused.code, ErrorCode::PermissionDenied);
            assert!(refused.hint.is_some_and(|hint| hint.starts_with("sudo ")));
        }
    }

    #[test]
    fn attack_02_a_caller_whom_the_kernel_does_not_name_has_no_rights() {
        assert!(requests().all(|(request, _)| authority().check(&Caller { credentials: None }, &request).is_err()));
    }

    #[test]
    fn attack_07_a_connection_that_outlived_the_membership_may_look_but_change_nothing() {
        let gid = users::group_id("daemon").unwrap().expect("every system has the group daemon");
        for (request, tier) in requests() {
            let allowed = authority().check(&caller(4_000_000, &[gid]), &request).is_ok();
            assert_eq!(allowed, tier == Tier::Observe, "{}", request.name());
        }
    }

    #[test]
    fn a_member_of_the_group_may_operate_but_not_administrate() {
        let (uid, gid) = (users::user_id("daemon").unwrap().unwrap(), users::group_id("daemon").unwrap().unwrap());
        for (request, tier) in requests() {
            let allowed = authority().check(&caller(uid, &[gid]), &request).is_ok();
            assert_eq!(allowed, tier <= Tier::Operate, "{}", request.name());
        }
    }
}
