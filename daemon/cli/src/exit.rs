//! What scripts may rely on (`docs/ipc.md`).

use std::process::ExitCode;

use cryprq_ipc_proto::error::ErrorCode;

/// How the program ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    Ok = 0,
    Failure = 1,
    Usage = 2,
    NotRunning = 3,
    PermissionDenied = 4,
    NotConnected = 5,
    TimedOut = 6,
    VersionMismatch = 7,
}

impl Exit {
    /// How a refusal ends the program.
    pub(crate) const fn of(code: ErrorCode) -> Self {
        match code {
            ErrorCode::NotRunning => Self::NotRunning,
            ErrorCode::PermissionDenied => Self::PermissionDenied,
            ErrorCode::NotConnected => Self::NotConnected,
            ErrorCode::TimedOut => Self::TimedOut,
            ErrorCode::VersionMismatch | ErrorCode::UnknownVerb => Self::VersionMismatch,
            ErrorCode::BadRequest
            | ErrorCode::UnknownPeer
            | ErrorCode::AlreadyExists
            | ErrorCode::InvalidConfig
            | ErrorCode::TicketUnknown
            | ErrorCode::TicketExpired
            | ErrorCode::TicketUsed
            | ErrorCode::TicketWrongSecret
            | ErrorCode::TicketMalformed
            | ErrorCode::PeerRefused
            | ErrorCode::ExtensionAttached
            | ErrorCode::TooManyClients
            | ErrorCode::TooLarge
            | ErrorCode::Unsupported
            | ErrorCode::Busy
            | ErrorCode::Internal => Self::Failure,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}
