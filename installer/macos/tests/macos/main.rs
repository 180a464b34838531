//! The macOS package, taken apart by readers that are not ours, and its scripts on something that looks like a Mac to them.

mod fixture;
mod mac;
mod package;
mod refusals;
mod release;
mod scripts;
mod signatures;
