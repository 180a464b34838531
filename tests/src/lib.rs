//! What the tests of CrypRQ share.

pub mod exchange;
pub mod reference;
pub mod seams;
