//! `wsup`, the command line: one supervised connection from a shell.

mod args;
mod feed;
mod input;
mod json;
mod outside;
mod print;
mod session;
mod upgrade;
mod value;
mod words;

fn main() {
    let began = tokio::time::Instant::now();
    // Ends without waiting for the thread that reads stdin: it may be blocked for ever.
    std::process::exit(session::main(began));
}
