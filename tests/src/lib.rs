//! What the tests of CrypRQ share.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod exchange;
#[cfg(feature = "daemon")]
pub mod extension;
#[cfg(feature = "daemon")]
pub mod fake_daemon;
pub mod fuzzing;
pub mod impostor;
#[cfg(feature = "daemon")]
pub mod lab;
#[cfg(feature = "daemon")]
pub mod local;
pub mod measure;
pub mod oracle;
pub mod reference;
pub mod repository;
#[cfg(feature = "daemon")]
pub mod rig;
pub mod seams;
#[cfg(feature = "daemon")]
pub mod shuttle;
pub mod sim;
#[cfg(feature = "daemon")]
pub mod swift;
