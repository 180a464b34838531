//! The Swift side against real daemons: the menu at the control socket, the pump at the packet socket.

mod menu;
mod pump;
