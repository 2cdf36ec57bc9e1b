//! `wsup`, the command line: one supervised connection from a shell, or a feed of many.

mod args;
mod buffer;
mod condition;
mod console;
mod drawing;
mod editor;
mod ending;
mod failover;
mod feed;
mod from_file;
mod hint;
mod history;
mod human;
mod inflate;
mod input;
mod json;
mod layout;
mod line;
mod link;
mod output;
mod pending;
mod pointer;
mod print;
mod rate;
mod recording;
mod refusal;
mod replay;
mod reply;
mod retry;
mod screen;
mod secrets;
mod sender;
mod session;
mod signals;
mod slash;
mod status;
mod stderr;
mod template;
mod upgrade;
mod usage;
mod value;

fn main() {
    let began = tokio::time::Instant::now();
    let status = session::main(began);
    stderr::flush();
    // Ends without waiting for the threads of stdin, stdout and stderr: they may be blocked for ever.
    std::process::exit(status);
}
