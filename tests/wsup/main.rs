//! `wsup` as a process, against servers by another hand and raw sockets: its contract, line by line.

mod ends;
mod events;
mod input;
mod options;
mod process;
mod server;
mod stages;
