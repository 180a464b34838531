//! Error codes: numbers and names that scripts may rely on. New ones are added at the end.

use serde::{Deserialize, Serialize};

use crate::codec::{Decode, Encode, numbered};

macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident = $number:tt, $name:literal;)*) => {
        /// Why a request was refused.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
        }
    };
}

codes! {
    /// The request is malformed.
    BadRequest = 1, "bad_request";
    /// No such verb.
    UnknownVerb = 2, "unknown_verb";
    /// One side is older than the other.
    VersionMismatch = 3, "version_mismatch";
    /// The caller has not the rights.
    PermissionDenied = 4, "permission_denied";
    /// No such peer.
    UnknownPeer = 5, "unknown_peer";
    /// It exists already.
    AlreadyExists = 6, "already_exists";
    /// The configuration is refused.
    InvalidConfig = 7, "invalid_config";
    /// The daemon is stopping.
    NotRunning = 8, "not_running";
    /// The peer is not connected.
    NotConnected = 9, "not_connected";
    /// No answer in time.
    TimedOut = 10, "timed_out";
    /// No such ticket.
    TicketUnknown = 11, "ticket_unknown";
    /// The ticket's time is over.
    TicketExpired = 12, "ticket_expired";
    /// The ticket was used.
    TicketUsed = 13, "ticket_used";
    /// The ticket's secret is wrong.
    TicketWrongSecret = 14, "ticket_wrong_secret";
    /// The ticket is mistyped.
    TicketMalformed = 15, "ticket_malformed";
    /// The peer refuses us.
    PeerRefused = 16, "peer_refused";
    /// An extension is attached already.
    ExtensionAttached = 17, "extension_attached";
    /// Too many clients.
    TooManyClients = 18, "too_many_clients";
    /// The request is too large.
    TooLarge = 19, "too_large";
    /// Not possible on this system.
    Unsupported = 20, "unsupported";
    /// Try again later.
    Busy = 21, "busy";
    /// A fault of the daemon.
    Internal = 22, "internal";
}

/// A refusal: what, why, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Encode, Decode, thiserror::Error)]
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
    /// A refusal without a hint.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), hint: None }
    }

    /// Adds what mends it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec;

    #[test]
    fn numbers_count_up_and_names_are_those_of_json() {
        for (i, code) in ErrorCode::ALL.iter().enumerate() {
            assert_eq!(usize::from(code.number()), i + 1);
            assert_eq!(serde_json::to_value(code).unwrap(), code.name());
            assert_eq!(codec::decode(&u32::from(code.number()).to_le_bytes()), Ok(*code));
        }
    }
}
