//! All traffic of a host goes through a peer, and comes back to the host's own way when it is not to any more.

mod bad_input;
mod crash;
mod kept;
mod names;
mod outer;
mod resolver;
mod scene;
mod traffic;
mod undone;
