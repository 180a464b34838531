//! What callers are told when there is no pairing, and what they can do.

use cryprq_ipc_proto::error::{ErrorBody, ErrorCode};
use node::pairing::{InviteError, PairFault, Refusal};

use super::{JOIN_LIMIT, Joining};
use crate::state_dir::StateError;

pub(super) fn not_kept(error: &StateError) -> ErrorBody {
    ErrorBody::new(ErrorCode::Internal, format!("nothing was changed: {error}"))
}

pub(super) fn not_invited(error: &InviteError) -> ErrorBody {
    let (code, hint) = match error {
        InviteError::Lifetime => (ErrorCode::BadRequest, "cryprq invite --expires 1h"),
        InviteError::NoAddress => (ErrorCode::InvalidConfig, "name one with listen.advertise in the configuration"),
        InviteError::TooMany => (ErrorCode::Busy, "'cryprq invite --list' shows them"),
        InviteError::Random(_) => (ErrorCode::Internal, "try again"),
    };
    ErrorBody::new(code, error.to_string()).hint(hint)
}

pub(super) fn timed_out(joining: &Joining) -> ErrorBody {
    let why = joining.last_error.as_ref().map(|error| format!(": {error}")).unwrap_or_default();
    let message = format!("the other host did not answer within {} s{why}", JOIN_LIMIT.as_secs());
    let addresses: Vec<_> = joining.addresses.iter().map(ToString::to_string).collect();
    let hint = format!("the ticket is still good; is the other host up, and reachable at {}?", addresses.join(" or "));
    ErrorBody::new(ErrorCode::TimedOut, message).hint(hint)
}

/// Why the inviter does not take us, and what to do.
pub(super) fn refused(fault: &PairFault) -> ErrorBody {
    let again = "make a new ticket with 'cryprq invite' on the other host";
    let (code, hint) = match fault {
        PairFault::Refused(Refusal::UnknownTicket) => (ErrorCode::TicketUnknown, again),
        PairFault::Refused(Refusal::Expired) => (ErrorCode::TicketExpired, again),
        PairFault::Refused(Refusal::Used) => {
            (ErrorCode::TicketUsed, "'cryprq invite --list' on the other host says who used it and when")
        }
        PairFault::Refused(Refusal::WrongSecret) => (ErrorCode::TicketWrongSecret, again),
        PairFault::Refused(Refusal::Version) => (ErrorCode::VersionMismatch, "update the older of both hosts"),
        PairFault::Refused(Refusal::Policy) => (
            ErrorCode::PeerRefused,
            "it has this host as a peer already ('sudo cryprq peers remove' there), or is joining it right now",
        ),
        PairFault::Length(_)
        | PairFault::Type(_)
        | PairFault::Version(_)
        | PairFault::Name
        | PairFault::Address
        | PairFault::Mac
        | PairFault::Random(_)
        | PairFault::RefusedUnknown(_) => (ErrorCode::PeerRefused, again),
    };
    ErrorBody::new(code, format!("no pairing: {fault}")).hint(hint)
}
