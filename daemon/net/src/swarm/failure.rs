//! Why a peer was not reached, in words for a person.

use libp2p::TransportError;
use libp2p::swarm::DialError;

use super::task::told;
use crate::address::without_peer;

/// Why a peer was not reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DialFailure {
    /// What kind of failure.
    pub fault: DialFault,
    /// What happened at each address that was tried.
    pub text: String,
}

/// What kind of failure it was, as far as somebody can do something about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DialFault {
    /// Nobody answered, or the way there is closed.
    Unreachable,
    /// Somebody else answered.
    AnotherHost,
}

impl DialFailure {
    /// A dial that did not even begin.
    pub(super) const fn before_dialling(text: String) -> Self {
        Self { fault: DialFault::Unreachable, text }
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "libp2p's enum grows; what is not named here tells of itself")]
    pub(super) fn of(error: &DialError) -> Self {
        match error {
            DialError::WrongPeerId { address, .. } => {
                let text = format!("{}: another host answers there", without_peer(address));
                Self { fault: DialFault::AnotherHost, text }
            }
            DialError::Transport(tried) => {
                let reasons: Vec<_> =
                    tried.iter().map(|(address, error)| (without_peer(address), reason(error))).collect();
                let other = reasons.iter().any(|(_, reason)| reason.contains(ANOTHER_HOST));
                let texts: Vec<_> = reasons.iter().map(|(place, reason)| format!("{place}: {reason}")).collect();
                let fault = if other { DialFault::AnotherHost } else { DialFault::Unreachable };
                Self { fault, text: texts.join("; ") }
            }
            other => Self::before_dialling(told(other)),
        }
    }
}

/// How [`crate::quic::Error::WrongPeer`] begins; by the time it is here it is a text.
const ANOTHER_HOST: &str = "another host answers there";

fn reason(error: &TransportError<std::io::Error>) -> String {
    match error {
        TransportError::MultiaddrNotSupported(_) => "no such transport".to_owned(),
        TransportError::Other(error) => {
            let text = told(error);
            // One transport behind the other was asked; only the last line says what the network did.
            let last = text.lines().last().unwrap_or_default().trim_start_matches([' ', '-']);
            let end = last.find(": Multiple dial errors").map_or(last, |end| &last[..end]);
            end.split(": check the peer").next().unwrap_or(end).to_owned()
        }
    }
}
