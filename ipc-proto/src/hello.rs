//! The first exchange of binary frames: who is there, and which version both speak.

use serde::{Deserialize, Serialize};

use crate::codec::{Decode, Encode, numbered};
use crate::error::{ErrorBody, ErrorCode};
use crate::limits::FRAME_VERSION;

/// Optional abilities of this build, one bit each; a bit is never reused. None has a number yet.
pub const FEATURES: u64 = 0;

/// Who connects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// The command line.
    Cli,
    /// The menu-bar app.
    App,
    /// Anything else that asks and changes.
    Script,
    /// The packet-tunnel extension.
    Extension,
}

numbered! {
    Role { 1 Cli, 2 App, 3 Script, 4 Extension, }
}

/// The first frame of whoever connected. Its layout is the same in every version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
#[serde(deny_unknown_fields)]
pub struct Hello {
    /// The oldest version that the sender speaks.
    pub min_version: u8,
    /// The newest.
    pub max_version: u8,
    /// The sender's build, for people.
    pub build: String,
    /// The sender's [`FEATURES`].
    pub features: u64,
    /// Who it is.
    pub role: Role,
}

/// The answer to a [`Hello`] that fits. Its layout is the same in every version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
#[serde(deny_unknown_fields)]
pub struct HelloAck {
    /// The version of all frames that follow.
    pub version: u8,
    /// The daemon's build, for people.
    pub build: String,
    /// The features that both have.
    pub features: u64,
}

/// The answer to a [`Hello`] that does not fit; the connection ends after it. Its layout is the same in every version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
#[serde(deny_unknown_fields)]
pub struct Refused {
    /// Why, and what mends it.
    pub error: ErrorBody,
    /// Which side has to be brought up to date, when that is the reason.
    pub older: Option<Side>,
}

/// An end of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// The one that listens.
    Daemon,
    /// The one that connected.
    Client,
}

numbered! {
    Side { 1 Daemon, 2 Client, }
}

impl Hello {
    /// What a client of this version says.
    pub fn new(build: impl Into<String>, role: Role) -> Self {
        let build = build.into();
        Self { min_version: FRAME_VERSION, max_version: FRAME_VERSION, build, features: FEATURES, role }
    }

    /// The daemon's answer. Whether the role may be served here is for the caller to decide.
    ///
    /// # Errors
    /// The refusal to send.
    pub fn answer(&self, build: &str) -> Result<HelloAck, Refused> {
        if self.min_version > self.max_version {
            let error = ErrorBody::new(ErrorCode::BadRequest, "the oldest version is newer than the newest");
            return Err(Refused { error, older: None });
        }
        if self.max_version < FRAME_VERSION {
            return Err(Refused::version(self.max_version, Side::Client));
        }
        if self.min_version > FRAME_VERSION {
            return Err(Refused::version(self.min_version, Side::Daemon));
        }
        Ok(HelloAck { version: FRAME_VERSION, build: build.to_owned(), features: self.features & FEATURES })
    }
}

impl Refused {
    /// The refusal of a client whose nearest version is `theirs`.
    pub fn version(theirs: u8, older: Side) -> Self {
        let (which, hint) = match older {
            Side::Daemon => ("daemon", "bring cryprqd up to date and restart it"),
            Side::Client => ("client", "bring the client up to date"),
        };
        let message = format!("the {which} is older: the client speaks {theirs}, the daemon {FRAME_VERSION}");
        Self { error: ErrorBody::new(ErrorCode::VersionMismatch, message).hint(hint), older: Some(older) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(min_version: u8, max_version: u8) -> Result<u8, Option<Side>> {
        let hello = Hello { min_version, max_version, ..Hello::new("test", Role::Script) };
        hello.answer("daemon").map(|ack| ack.version).map_err(|refused| refused.older)
    }

    #[test]
    fn the_newest_common_version_is_taken_and_a_refusal_says_who_is_older() {
        assert_eq!(answer(1, 1), Ok(1));
        assert_eq!(answer(1, 9), Ok(1), "a newer client that still speaks ours");
        assert_eq!(answer(0, 0), Err(Some(Side::Client)));
        assert_eq!(answer(2, 9), Err(Some(Side::Daemon)));
        assert_eq!(answer(9, 1), Err(None));
        let refused = Hello { min_version: 2, max_version: 2, ..Hello::new("test", Role::Cli) }.answer("").unwrap_err();
        assert_eq!(refused.error.code, ErrorCode::VersionMismatch);
        assert!(refused.error.hint.is_some_and(|hint| hint.contains("cryprqd")));
    }

    #[test]
    fn features_that_only_one_side_has_are_not_agreed_on() {
        let hello = Hello { features: u64::MAX, ..Hello::new("test", Role::App) };
        assert_eq!(hello.answer("").unwrap().features, FEATURES);
    }
}
