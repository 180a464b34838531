//! What the tests of CrypRQ share.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod exchange;
#[cfg(feature = "daemon")]
pub mod fake_daemon;
pub mod fuzzing;
#[cfg(feature = "daemon")]
pub mod lab;
#[cfg(feature = "daemon")]
pub mod local;
pub mod measure;
pub mod reference;
pub mod repository;
#[cfg(feature = "daemon")]
pub mod rig;
pub mod seams;
pub mod sim;
