//! Runs with one thing on their mind.
