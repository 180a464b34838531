//! Error codes: numbers and names that scripts may rely on. New ones are added at the end.

use serde::{Deserialize, Serialize};

use crate::codec::{Decode, Encode, numbered};
use crate::printable::printable;

macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident = $number:tt, $name:literal, $http:literal;)*) => {
        /// Why a request was refused.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
        #[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
        #[serde(rename_all = "snake_case")]
        pub enum ErrorCode {
            $($(#[$doc])* $variant = $number,)*
        }

        numbered! {
            ErrorCode { $($number $variant,)* }
        }

        impl ErrorCode {
            /// Every code.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The code's number.
            pub const fn number(self) -> u16 {
                self as u16
            }

            /// The code's name, as it stands in JSON.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }

            /// The status of the HTTP response that carries it.
            pub const fn http_status(self) -> u16 {
                match self {
                    $(Self::$variant => $http,)*
                }
            }
        }
    };
}

codes! {
    /// The request is malformed.
    BadRequest = 1, "bad_request", 400;
    /// No such verb.
    UnknownVerb = 2, "unknown_verb", 404;
    /// One side is older than the other.
    VersionMismatch = 3, "version_mismatch", 400;
    /// The caller has not the rights.
    PermissionDenied = 4, "permission_denied", 403;
    /// No such peer.
    UnknownPeer = 5, "unknown_peer", 404;
    /// It exists already.
    AlreadyExists = 6, "already_exists", 409;
    /// The configuration is refused.
    InvalidConfig = 7, "invalid_config", 422;
    /// The daemon is stopping.
    NotRunning = 8, "not_running", 503;
    /// The peer is not connected.
    NotConnected = 9, "not_connected", 409;
    /// No answer in time.
    TimedOut = 10, "timed_out", 504;
    /// No such ticket.
    TicketUnknown = 11, "ticket_unknown", 404;
    /// The ticket's time is over.
    TicketExpired = 12, "ticket_expired", 410;
    /// The ticket was used.
    TicketUsed = 13, "ticket_used", 410;
    /// The ticket's secret is wrong.
    TicketWrongSecret = 14, "ticket_wrong_secret", 403;
    /// The ticket is mistyped.
    TicketMalformed = 15, "ticket_malformed", 400;
    /// The peer refuses us.
    PeerRefused = 16, "peer_refused", 502;
    /// An extension is attached already.
    ExtensionAttached = 17, "extension_attached", 409;
    /// Too many clients.
    TooManyClients = 18, "too_many_clients", 429;
    /// The request is too large.
    TooLarge = 19, "too_large", 413;
    /// Not possible on this system.
    Unsupported = 20, "unsupported", 501;
    /// Try again later.
    Busy = 21, "busy", 503;
    /// A fault of the daemon.
    Internal = 22, "internal", 500;
}

/// A refusal: what, why, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Encode, Decode, thiserror::Error)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
#[error("{message}")]
pub struct ErrorBody {
    /// The code.
    pub code: ErrorCode,
    /// One line for a person.
    pub message: String,
    /// What mends it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl ErrorBody {
    /// A refusal without a hint. What a terminal or a log would obey in `message` is written as its number.
    pub fn new(code: ErrorCode, message: impl AsRef<str>) -> Self {
        Self { code, message: printable(message.as_ref()), hint: None }
    }

    /// Adds what mends it.
    #[must_use]
    pub fn hint(mut self, hint: impl AsRef<str>) -> Self {
        self.hint = Some(printable(hint.as_ref()));
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec;

    #[test]
    fn attack_10_a_refusal_is_one_line_that_no_terminal_obeys() {
        let hostile = "no \"peer\" is 'a\nb\u{1b}[2J\u{202e}\u{85}\u{2028}c', Bürö \\";
        let error = ErrorBody::new(ErrorCode::UnknownPeer, hostile).hint("x\r");
        assert_eq!(error.message, r#"no "peer" is 'a\nb\u{1b}[2J\u{202e}\u{85}\u{2028}c', Bürö \"#);
        assert_eq!(error.hint.as_deref(), Some(r"x\r"));
    }

    #[test]
    fn numbers_count_up_and_names_are_those_of_json() {
        for (i, code) in ErrorCode::ALL.iter().enumerate() {
            assert_eq!(usize::from(code.number()), i + 1);
            assert_eq!(serde_json::to_value(code).unwrap(), code.name());
            assert_eq!(codec::decode(&u32::from(code.number()).to_le_bytes()), Ok(*code));
        }
    }
}
