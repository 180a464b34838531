//! The Swift side against real daemons: the menu's model at the control socket.

mod menu;
