//! CrypRQ.
