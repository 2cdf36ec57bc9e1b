//! The command line: a supervised WebSocket connection from a shell.

fn main() {}
