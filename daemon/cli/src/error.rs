//! Faults of this side, in the shape of the daemon's refusals: one way to show them, one way to end with them.

use std::cmp::Ordering;
use std::io;
use std::path::Path;

use cryprq_ipc_proto::error::{ErrorBody, ErrorCode};

/// What a command comes to.
pub(crate) type Result<T> = std::result::Result<T, ErrorBody>;

const START: &str = if cfg!(target_os = "macos") {
    "sudo launchctl kickstart system/dev.cryprq.daemon"
} else {
    "sudo systemctl start cryprqd"
};
const ENTER_GROUP: &str = if cfg!(target_os = "macos") {
    "sudo dseditgroup -o edit -a $USER -t user _cryprq, or sudo cryprq"
} else {
    "sudo usermod -aG cryprq $USER, then log in again; or sudo cryprq"
};

/// The control socket cannot be opened.
pub(crate) fn unreachable(path: &Path, error: &io::Error) -> ErrorBody {
    let path = path.display();
    if error.kind() == io::ErrorKind::PermissionDenied {
        return ErrorBody::new(ErrorCode::PermissionDenied, format!("you may not open {path}")).hint(ENTER_GROUP);
    }
    let what = if error.kind() == io::ErrorKind::NotFound {
        "there is no such socket".to_owned()
    } else if error.kind() == io::ErrorKind::ConnectionRefused {
        "nobody listens there".to_owned()
    } else {
        error.to_string()
    };
    ErrorBody::new(ErrorCode::NotRunning, format!("no daemon answers at {path}: {what}")).hint(START)
}

/// The conversation with the daemon broke off.
pub(crate) fn broken(error: &io::Error) -> ErrorBody {
    if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) {
        return ErrorBody::new(ErrorCode::TimedOut, "the daemon does not answer")
            .hint("the daemon's log says what it does");
    }
    ErrorBody::new(ErrorCode::NotRunning, format!("the daemon went away: {error}")).hint("the daemon's log says why")
}

/// The daemon's answer is to another question.
pub(crate) fn foreign() -> ErrorBody {
    ErrorBody::new(ErrorCode::VersionMismatch, "the daemon's answer is not understood")
        .hint("use the cryprq of the same version as the daemon")
}

/// `error`, hinting at the versions of both programs where they differ.
pub(crate) fn of_two_versions(error: ErrorBody, ours: &str, daemon: &str) -> ErrorBody {
    let hint = match numbers(ours).cmp(&numbers(daemon)) {
        Ordering::Less => format!("this cryprq is {ours} and older than the daemon, which is {daemon}: update it"),
        Ordering::Greater => {
            format!("the daemon is {daemon} and older than this cryprq, which is {ours}: update it, or restart it")
        }
        Ordering::Equal => return error,
    };
    error.hint(hint)
}

/// The numbers of a version, up to the first that is none.
fn numbers(version: &str) -> Vec<u64> {
    version.split('.').map_while(|number| number.parse().ok()).collect()
}

/// A file or a stream of this side fails: `cannot WHAT: …`.
pub(crate) fn local(what: impl std::fmt::Display, error: &io::Error) -> ErrorBody {
    ErrorBody::new(ErrorCode::Internal, format!("cannot {what}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_older_of_two_programs_is_named_by_numbers_and_not_by_letters() {
        let hint = |ours, daemon| of_two_versions(foreign(), ours, daemon).hint.unwrap();
        assert!(hint("0.9.0", "0.10.0").starts_with("this cryprq is 0.9.0 and older"), "{}", hint("0.9.0", "0.10.0"));
        assert!(hint("1.0.0", "0.10.0").starts_with("the daemon is 0.10.0 and older"));
        for same in ["1.0.0", "1.0.0-rc1", "no version"] {
            assert_eq!(hint(same, same), foreign().hint.unwrap());
        }
    }
}
