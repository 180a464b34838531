//! What the tests of CrypRQ share.

pub mod exchange;
pub mod lab;
pub mod reference;
pub mod seams;
