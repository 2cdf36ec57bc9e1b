//! Commands that a file names: they print a URL, or the frame that logs in.

use std::process::{ExitStatus, Stdio};

use actix_ws_client::feed::Failure;
use tokio::io::{AsyncRead, AsyncReadExt, sink};
use tokio::process::Command;

use crate::feed::group::Group;

/// The most that a command may print, in bytes.
const MAX_OUTPUT: usize = 64 << 10;

/// How much of its stderr is shown, in bytes.
const MAX_SHOWN: u64 = 2 << 10;

/// Runs a command with the shell, and returns what it prints, without the last line end. To drop the future kills
/// it, with all that it has started.
pub(crate) async fn run(key: &str, command: &str) -> Result<String, Failure> {
    let failed = |why: &dyn std::fmt::Display| Failure::new(format!("`{key}`: {why}"));
    let mut child = shell(command)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|err| failed(&format_args!("cannot start: {err}")))?;
    // Dropped before the child is, so that its number still is that of its group.
    let group = Group::of(&child);
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let (printed, said) = tokio::join!(output(stdout), errors(stderr));
    let printed = printed.map_err(|why| failed(&why))?;
    let status = child.wait().await.map_err(|err| failed(&err))?;
    group.release();
    if !status.success() {
        return Err(failed(&ended(status, &said)));
    }
    let printed = String::from_utf8(printed).map_err(|_| failed(&"its output is not UTF-8"))?;
    let line = printed.strip_suffix('\n').unwrap_or(&printed);
    let line = line.strip_suffix('\r').unwrap_or(line);
    match line.is_empty() {
        true => Err(failed(&"it printed nothing")),
        false => Ok(line.to_owned()),
    }
}

fn shell(command: &str) -> Command {
    let (shell, flag) = if cfg!(windows) { ("cmd", "/C") } else { ("sh", "-c") };
    let mut shell = Command::new(shell);
    shell.arg(flag).arg(command);
    Group::prepare(&mut shell);
    shell
}

/// Reads what is printed.
async fn output(stdout: Option<impl AsyncRead + Unpin>) -> Result<Vec<u8>, String> {
    let Some(stdout) = stdout else { return Ok(Vec::new()) };
    let mut printed = Vec::new();
    // What is beyond it is not read: the command ends by a broken pipe, or is killed.
    let read = stdout.take(MAX_OUTPUT as u64 + 1).read_to_end(&mut printed).await;
    read.map_err(|err| err.to_string())?;
    match printed.len() > MAX_OUTPUT {
        true => Err(format!("it printed more than {MAX_OUTPUT} bytes")),
        false => Ok(printed),
    }
}

/// Reads the beginning of stderr, and drops the rest.
async fn errors(stderr: Option<impl AsyncRead + Unpin>) -> String {
    let Some(mut stderr) = stderr else { return String::new() };
    let mut said = Vec::new();
    // A stderr that cannot be read says nothing.
    let _ = (&mut stderr).take(MAX_SHOWN).read_to_end(&mut said).await;
    let _ = tokio::io::copy(&mut stderr, &mut sink()).await;
    String::from_utf8_lossy(&said).trim().to_owned()
}

/// Formats the end of a command that failed.
fn ended(status: ExitStatus, said: &str) -> String {
    let status = match status.code() {
        Some(code) => format!("it ended with status {code}"),
        None => "it was ended by a signal".to_owned(),
    };
    if said.is_empty() { status } else { format!("{status}: {said}") }
}
