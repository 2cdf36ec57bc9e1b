//! One run, from its flags to its exit status.

#[cfg(unix)]
use std::fs::File;
use std::io::{self, IsTerminal};
use std::num::NonZeroU64;
use std::pin::pin;
use std::time::Duration;

use actix::{Actor, Addr, Arbiter, Recipient, System};
use actix_ws_client::{Connection, ConnectionBuilder, Outcome, OutcomeKind, Payload, command};
use clap::{CommandFactory, Parser};
use clap_complete::Shell;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tracing_subscriber::EnvFilter;

use crate::args::{Args, Subcommand, Texts};
use crate::console::{Commands, Input};
use crate::ending::{self, Ending, Next};
use crate::feed;
use crate::human::{self, Human};
use crate::json::{self, Json};
use crate::pending::Pending;
use crate::print::{Format, Printer, Report};
use crate::recording;
use crate::replay;
use crate::reply::{MAX_REPLIES, Replies, Reply};
use crate::screen::{self, eprint_line};
use crate::sender::{Ended, Openings, Sender, Sources};
use crate::signals::Signals;
use crate::slash::TypedPings;
use crate::status::{
    CLOSED, FAILED, REFUSED, STDOUT_TIMEOUT, Status, USAGE, broken_stdout, cannot,
};
use crate::usage::Usage;

/// Runs the command line of this process. Returns the exit status.
pub(crate) fn main(began: Instant) -> Status {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(err) => {
            // Help goes to stdout, errors to stderr. A stream without a reader changes nothing.
            let _ = err.print();
            return err.exit_code();
        }
    };
    if let Some(shell) = args.completions {
        return complete(shell);
    }
    log(&args);
    if let Some(Subcommand::Replay(flags)) = &args.command {
        return replay::run(flags);
    }
    if let Err(err) = enough_files() {
        return cannot("start", &err);
    }
    let system = System::new();
    let run = async {
        match &args.command {
            Some(Subcommand::Feed(flags)) => feed::run(flags, &args.secrets, began).await,
            Some(Subcommand::Replay(_)) | None => run(&args, began).await,
        }
    };
    let status = match system.block_on(run) {
        Ok(status) => status,
        Err(Usage(words)) => {
            eprint_line(&format!("wsup: {words}"));
            USAGE
        }
    };
    // Ending the system would wait for its threads, and one may be blocked.
    std::mem::forget(system);
    status
}

/// Checks that the process may open as many files as it needs beside its socket. The runtimes panic where
/// they cannot open theirs.
fn enough_files() -> io::Result<()> {
    #[cfg(unix)]
    {
        let files: io::Result<Vec<_>> = (0..FILES).map(|_| File::open("/dev/null")).collect();
        files.map_err(|err| io::Error::other(format!("{err}; raise `ulimit -n`")))?;
    }
    Ok(())
}

/// The most files that a start opens: those of two runtimes, of signals, of the streams, and of the system's
/// certificates and resolver.
#[cfg(unix)]
const FILES: usize = 24;

/// Prints the completion script of a shell.
fn complete(shell: Shell) -> Status {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Args::command(), "wsup", &mut script);
    screen::out(&script).map_or_else(|err| broken_stdout(&err), |()| CLOSED)
}

/// Logs to stderr: the targets and levels of `RUST_LOG`, or warnings without it.
fn log(args: &Args) {
    // The output for people shows failures already.
    let output = match &args.command {
        Some(Subcommand::Feed(flags)) => (flags.verbose, flags.json),
        Some(Subcommand::Replay(_)) | None => (args.output.verbose, args.output.json),
    };
    let default = match output {
        (2.., _) => "warn,actix_ws_client=trace",
        (_, true) => "warn",
        (_, false) => "warn,actix_ws_client::connection=error",
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
    let secrets = args.secrets.clone();
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(move || screen::Log(secrets.clone()))
        .with_ansi(args.output.colour(&io::stderr()))
        .log_internal_errors(false)
        .init();
}

async fn run(args: &Args, began: Instant) -> Result<Status, Usage> {
    let builder = args.builder()?;
    let texts = args.texts()?;
    let warnings = args.check_others()?;
    if args.dry_run {
        return dry_run(args, &builder).await;
    }
    warnings.iter().for_each(|warning| eprint_line(&format!("wsup: {warning}")));
    let history = match args.output.prompts() {
        true => Some(args.history()?),
        false => None,
    };
    let mut signals = match Signals::new() {
        Ok(signals) => signals,
        Err(err) => return Ok(cannot("take signals", &err)),
    };
    let recorder = args.record.start()?;
    let builder = recorder.iter().fold(builder, ConnectionBuilder::record);
    let figures = builder.watch();
    let (reports, mut reported) = mpsc::channel(Report::KINDS);
    let (opened, openings) = watch::channel(0);
    let greeter = Openings(opened).start();
    let asked = TypedPings::default();
    let builder = builder.on_open_to(greeter.recipient());
    let Texts { on_open, once, every, replies } = texts;
    let (builder, replies) = reply(args, builder, replies);
    let connection = print(args, builder, reports, (began, asked.clone())).start()?;
    let Input { lines, commands } = match Input::begin(args, history, &mut signals) {
        Ok(input) => input,
        Err(err) => return Ok(cannot("read stdin", &err)),
    };
    if commands.is_some() {
        eprint_line("wsup: /help lists the commands, Ctrl-D ends");
    }
    let sources = Sources { openings, replies, lines };
    let pending = Pending::new(on_open, once, every);
    let sender = Sender::new(connection.clone(), figures, sources, pending, args.manner());
    let overdue = args.link.close_timeout() + STDOUT_TIMEOUT;
    let commands = Commands { connection: connection.clone(), asked, typed: commands };
    let session = Session { connection, commands, overdue };
    let time_up = args.duration().map(|time| began + time);
    let status = session.run_to_end(&mut signals, &mut reported, sender, time_up).await;
    recorder.iter().for_each(recording::close);
    screen::end_prompt();
    Ok(status)
}

/// Prints the upgrade request and the delays between dials.
async fn dry_run(args: &Args, builder: &ConnectionBuilder) -> Result<Status, Usage> {
    let (request, delays) = (builder.request_head()?, args.delays());
    let line = match args.output.json {
        true => json::plan(&request, &delays),
        false => human::plan(&request, &delays),
    };
    let written = line.write();
    Ok(written.map_or_else(|err| broken_stdout(&err), |()| CLOSED))
}

/// Registers what answers messages, if anything does. Returns the answers too.
fn reply(
    args: &Args,
    builder: ConnectionBuilder,
    replies: Vec<Reply>,
) -> (ConnectionBuilder, mpsc::Receiver<(u64, Payload)>) {
    let (sender, answers) = mpsc::channel(MAX_REPLIES);
    if replies.is_empty() {
        return (builder, answers);
    }
    let replies = Replies { replies, kind: args.kind(), buffer: args.buffer(), sender }.start();
    (builder.on_message_to(replies.recipient()), answers)
}

/// Registers a printer, on a thread of its own, for the connection's events.
fn print(
    args: &Args,
    builder: ConnectionBuilder,
    reports: mpsc::Sender<Report>,
    (began, asked): (Instant, TypedPings),
) -> ConnectionBuilder {
    let (output, source) = (&args.output, args.source(&builder));
    let secrets = args.secrets.clone();
    let (verbose, prompts) = (output.verbose > 0, output.prompts());
    let form: Box<dyn Format + Send> = if output.json {
        Box::new(Json { source, secrets, timings: output.timings })
    } else {
        Box::new(Human {
            source,
            secrets,
            terminal: io::stdout().is_terminal(),
            raw: output.raw,
            prefix: if prompts { "< " } else { "" },
            verbose,
            began: output.timings.then_some(began),
            inflate_limit: args.max_message(),
            out_colour: output.colour(&io::stdout()),
            err_colour: output.colour(&io::stderr()),
            around: args.around(),
            asked,
        })
    };
    let printer = Printer::new(form, args.messages.map(NonZeroU64::get), reports);
    let printer = Printer::start_in_arbiter(&Arbiter::new().handle(), move |_| printer);
    let builder = builder
        .on_open_to(printer.clone().recipient())
        .on_error_to(printer.clone().recipient())
        .on_close_to(printer.clone().recipient())
        .on_stopped_to(printer.clone().recipient());
    // Unchecked text comes as bytes: only `Data` has the opcode of the message.
    let builder = match args.skip_utf8 {
        true => builder.on_data_to(printer.clone().recipient()),
        false => builder.on_message_to(printer.clone().recipient()),
    };
    // Events that are not shown are not delivered either: a server may ping millions of times.
    let builder = match output.json || verbose {
        true => builder.on_ping_to(printer.clone().recipient()),
        false => builder,
    };
    let builder = match output.json || verbose || prompts {
        true => builder.on_pong_to(printer.clone().recipient()),
        false => builder,
    };
    let states: Option<Recipient<_>> = verbose.then(|| printer.recipient());
    states.into_iter().fold(builder, ConnectionBuilder::on_state_to)
}

/// A running connection, and the sources that may end it.
struct Session {
    connection: Addr<Connection>,
    commands: Commands,
    /// How long the end may take after a signal or `--duration`.
    overdue: Duration,
}

impl Session {
    /// Runs until the connection has stopped or the end has taken too long. Returns the exit status.
    async fn run_to_end(
        mut self,
        signals: &mut Signals,
        reported: &mut mpsc::Receiver<Report>,
        sender: Sender,
        time_up: Option<Instant>,
    ) -> Status {
        let mut sent = pin!(sender.run());
        let (mut is_sent, mut is_ending) = (false, false);
        let mut ending = Ending::new(self.overdue, time_up);
        let mut close = command::Close::normal();
        loop {
            tokio::select! {
                biased;
                next = ending.next(signals, reported) => match next {
                    Next::Close | Next::Report(Some(Report::LimitReached)) => {}
                    Next::Abort => return self.abort(reported).await,
                    Next::Overdue => return CLOSED,
                    Next::Report(Some(Report::StdoutFailed(err))) => {
                        ending.fail(|| broken_stdout(&err));
                    }
                    Next::Report(Some(Report::Stopped(outcome))) => {
                        return ending.status(status(&outcome));
                    }
                    Next::Report(None) => return FAILED,
                },
                ended = &mut sent, if !is_sent => {
                    is_sent = true;
                    if ended == Ended::LineWhileClosed && !is_ending {
                        eprint_line("wsup: a line came while no socket was open (--while-closed end)");
                        ending.fail(|| FAILED);
                    }
                }
                slash = self.commands.next() => {
                    let Some(asked) = self.commands.obey(slash) else { continue };
                    ending.limit();
                    close = asked;
                }
            }
            // Every branch that gets here ends the run. A second Close changes nothing.
            is_ending = true;
            self.connection.do_send(std::mem::take(&mut close));
        }
    }

    /// Drops the socket, and prints the last event if that does not take long.
    async fn abort(&self, reported: &mut mpsc::Receiver<Report>) -> Status {
        self.connection.do_send(command::Close::normal().deadline(Duration::ZERO));
        ending::aborted(reported, |report| matches!(report, Report::Stopped(_))).await
    }
}

fn status(outcome: &Outcome) -> Status {
    match outcome.kind {
        OutcomeKind::Closed => CLOSED,
        OutcomeKind::Refused => REFUSED,
        _ => FAILED,
    }
}
