//! Who may do what: by the kernel's word about the caller, asked again for each request that changes something.

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use cryprq_ipc_proto::error::{ErrorBody, ErrorCode};
use cryprq_ipc_proto::message::Request;
use cryprq_ipc_proto::verb::Tier;
use os::peercred::Credentials;
use os::users;
use tokio::sync::Semaphore;

use crate::config::{Access, Who};

/// The longest time that a request waits for the user database, whose server may be behind the very tunnel.
const PATIENCE: Duration = Duration::from_secs(3);
/// Look-ups at once, so that one that never ends leaves threads to others.
const LOOK_UPS: usize = 2;

/// Whether one of these rules lets a caller make requests of a tier; it may take its time.
type Judge = fn(&BTreeSet<Who>, &Credentials, Tier) -> bool;

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
    judge: Judge,
    patience: Duration,
    look_ups: Arc<Semaphore>,
}

impl Authority {
    /// Rules of the configuration; `group` is the one that a refusal tells people to join.
    pub fn new(access: Access, group: String) -> Self {
        let look_ups = Arc::new(Semaphore::new(LOOK_UPS));
        Self { access: Arc::new(RwLock::new(access)), group, judge: any_matches, patience: PATIENCE, look_ups }
    }

    /// Judges by other rules from now on.
    pub fn set_access(&self, access: Access) {
        *self.access.write().unwrap_or_else(PoisonError::into_inner) = access;
    }

    /// Whether the caller may make this request now. The user database is asked about everybody but root.
    ///
    /// # Errors
    /// The refusal, with the command that mends it.
    pub async fn check(&self, caller: &Caller, request: &Request) -> Result<(), ErrorBody> {
        let tier = request.tier();
        let refused = |message: String| ErrorBody::new(ErrorCode::PermissionDenied, message);
        let Some(credentials) = &caller.credentials else {
            return Err(refused("the system does not say who you are".into()));
        };
        if credentials.uid == 0 {
            return Ok(());
        }
        let rules = self.rules(tier);
        let by_root = || format!("sudo cryprq {}", request.command());
        let Some(allowed) = self.look_up(rules.clone(), credentials.clone(), tier).await else {
            let message = format!("the user database does not say in time what user {} may do", credentials.uid);
            return Err(refused(message).hint(by_root()));
        };
        if allowed {
            return Ok(());
        }
        let message =
            format!("user {} may not '{}', which needs the right to {}", credentials.uid, request.name(), tier.name());
        let hint = if rules.contains(&Who::Group(self.group.clone())) {
            format!("sudo usermod -aG {} $USER, then log in again", self.group)
        } else {
            by_root()
        };
        Err(refused(message).hint(hint))
    }

    /// Judges on a thread where nobody else has to wait; `None` when that takes too long.
    async fn look_up(&self, rules: BTreeSet<Who>, credentials: Credentials, tier: Tier) -> Option<bool> {
        let judge = self.judge;
        let judged = async {
            let place = Arc::clone(&self.look_ups).acquire_owned().await.ok()?;
            let judged = tokio::task::spawn_blocking(move || {
                // Taken until the database answers, whether anybody still waits for it or not.
                let _place = place;
                judge(&rules, &credentials, tier)
            });
            judged.await.ok()
        };
        tokio::time::timeout(self.patience, judged).await.ok()?
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

fn any_matches(rules: &BTreeSet<Who>, credentials: &Credentials, tier: Tier) -> bool {
    rules.iter().any(|rule| matches(rule, credentials, tier))
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
    use std::sync::atomic::{AtomicUsize, Ordering};

    use cryprq_ipc_proto::json::read_request;
    use cryprq_ipc_proto::message::Reply;
    use cryprq_ipc_proto::verb::VERBS;
    use tokio::sync::mpsc;

    use super::*;
    use crate::ipc::Call;
    use crate::ipc::dispatch::Dispatcher;
    use crate::ipc::places::Places;
    use crate::ipc::stream::Timing;

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

    #[tokio::test]
    async fn root_may_do_everything() {
        for (request, _) in requests() {
            assert!(authority().check(&caller(0, &[]), &request).await.is_ok(), "{}", request.name());
        }
    }

    #[tokio::test]
    async fn attack_01_who_is_in_no_group_may_do_nothing_and_is_told_what_mends_it() {
        for (request, _) in requests() {
            let refused = authority().check(&caller(4_000_000, &[]), &request).await.unwrap_err();
            assert_eq!(refused.code, ErrorCode::PermissionDenied);
            assert!(refused.hint.is_some_and(|hint| hint.starts_with("sudo ")));
        }
    }

    #[tokio::test]
    async fn attack_02_a_caller_whom_the_kernel_does_not_name_has_no_rights() {
        for (request, _) in requests() {
            let refused = authority().check(&Caller { credentials: None }, &request).await;
            assert!(refused.is_err(), "{}", request.name());
        }
    }

    #[tokio::test]
    async fn attack_07_a_connection_that_outlived_the_membership_may_look_but_change_nothing() {
        let gid = users::group_id("daemon").unwrap().expect("every system has the group daemon");
        for (request, tier) in requests() {
            let allowed = authority().check(&caller(4_000_000, &[gid]), &request).await.is_ok();
            assert_eq!(allowed, tier == Tier::Observe, "{}", request.name());
        }
    }

    #[tokio::test]
    async fn a_member_of_the_group_may_operate_but_not_administrate() {
        let (uid, gid) = (users::user_id("daemon").unwrap().unwrap(), users::group_id("daemon").unwrap().unwrap());
        for (request, tier) in requests() {
            let allowed = authority().check(&caller(uid, &[gid]), &request).await.is_ok();
            assert_eq!(allowed, tier <= Tier::Operate, "{}", request.name());
        }
    }

    /// Look-ups that were begun at a user database whose server is not reached.
    static BEGUN: AtomicUsize = AtomicUsize::new(0);

    fn silent(_: &BTreeSet<Who>, _: &Credentials, _: Tier) -> bool {
        BEGUN.fetch_add(1, Ordering::Relaxed);
        std::thread::sleep(Duration::from_secs(1));
        true
    }

    #[tokio::test]
    async fn attack_13_a_silent_user_database_grants_nothing_and_keeps_only_those_waiting_who_are_looked_up() {
        let authority = Authority { judge: silent, patience: Duration::from_millis(100), ..authority() };
        let (calls, mut queue) = mpsc::channel::<Call>(1);
        tokio::spawn(async move {
            while let Some(call) = queue.recv().await {
                let _ = call.reply.send(Ok(Reply::Done {}));
            }
        });
        let dispatcher = Dispatcher::new(authority.clone(), calls, Places::default(), Timing::default());
        let (somebody, root) = (caller(4_000_000, &[]), caller(0, &[]));
        let waits = dispatcher.answer(&somebody, Request::Reload {});
        tokio::pin!(waits);
        tokio::select! {
            biased;
            _ = &mut waits => panic!("the database said nothing yet"),
            answer = dispatcher.answer(&root, Request::Reload {}) => assert!(answer.is_ok()),
        }
        let refused = waits.await.err().unwrap();
        assert_eq!(
            (refused.code, refused.hint.as_deref()),
            (ErrorCode::PermissionDenied, Some("sudo cryprq config reload"))
        );
        assert!(refused.message.contains("in time"), "{}", refused.message);
        // However many ask, no more threads wait.
        for _ in 0..3 {
            assert!(authority.check(&somebody, &Request::Reload {}).await.is_err());
        }
        assert_eq!(BEGUN.load(Ordering::Relaxed), LOOK_UPS);
    }
}
