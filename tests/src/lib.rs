//! What the tests of CrypRQ share.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod exchange;
#[cfg(feature = "daemon")]
pub mod fake_daemon;
pub mod fuzzing;
pub mod impostor;
#[cfg(feature = "daemon")]
pub mod lab;
pub mod measure;
pub mod oracle;
pub mod reference;
pub mod repository;
pub mod seams;
pub mod sim;
