//! A recording holds what a connection received and sent, in order; and a recorder that is slow stops nothing.
#![cfg(feature = "record")]

use std::path::{Path, PathBuf};
use std::time::Duration;

use actix_ws_client::record::{Entry, Reader, Recorder, What};
use actix_ws_client::testing::{Probe, Script, Server};
use actix_ws_client::{Connection, Payload, command, event};

/// A directory that is deleted at the end.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Directory {
        let path = std::env::temp_dir().join(format!("recording-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        Directory(path)
    }

    fn files(&self) -> Vec<PathBuf> {
        let listed = std::fs::read_dir(&self.0).expect("a directory");
        let mut paths: Vec<_> = listed.map(|entry| entry.expect("an entry").path()).collect();
        paths.sort();
        paths
    }

    /// Returns the entries of all files, none of which is torn.
    fn entries(&self) -> Vec<Entry> {
        self.files().iter().flat_map(|path| entries(path)).collect()
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn entries(path: &Path) -> Vec<Entry> {
    let mut reader = Reader::open(path).expect("it opens");
    let entries: Result<Vec<_>, _> = reader.by_ref().collect();
    assert!(!reader.is_torn());
    entries.expect("it can be read")
}

/// Returns what was recorded, one line each.
fn lines(entries: &[Entry]) -> Vec<String> {
    let line = |entry: &Entry| match &entry.what {
        What::Received(payload) => format!("in {}", shown(payload)),
        What::Sent(payload) => format!("out {}", shown(payload)),
        What::Hidden(length) => format!("secret of {length}"),
        What::Ping(way, bytes) => format!("ping {way:?} {}", bytes.escape_ascii()),
        What::Pong(way, bytes, _) => format!("pong {way:?} {}", bytes.escape_ascii()),
        What::Event(kind, event) if &**kind == "state" => {
            format!("state {}", event["phase"].as_str().unwrap_or_default())
        }
        What::Event(kind, event) if &**kind == "error" => {
            format!("error {}", event["error"]["stage"])
        }
        What::Event(kind, event) if &**kind == "close" => format!("close {}", event["code"]),
        What::Event(kind, _) => kind.to_string(),
        other => format!("{other:?}"),
    };
    entries.iter().map(line).collect()
}

fn shown(payload: &Payload) -> String {
    match payload.as_text() {
        Some(text) => text.to_owned(),
        None => format!("binary {}", payload.as_bytes().escape_ascii()),
    }
}

#[actix::test]
async fn a_recording_holds_in_order_what_came_and_what_was_sent_without_secrets() {
    let directory = Directory::new("order");
    let recorder = Recorder::builder(&directory.0).start().expect("it starts");
    let script = Script::accept()
        .send_ping("p")
        .send_text("hello \"you\"\u{1}")
        .send_binary(&b"\x00\xff"[..])
        .expect_text("the password")
        .send_close(1001, "bye");
    let server = Server::start([Script::refuse(503), script]);
    let probe = Probe::new();
    let builder = Connection::builder(server.url())
        .name("venue")
        .reconnect(actix_ws_client::Reconnect::fixed(Duration::from_millis(10)))
        .ping_interval(None)
        .record(&recorder)
        .reconnect_on_close(false);
    let connection = probe.attach(builder).start().expect("it starts");
    let open: event::Open = probe.next().await;
    let received: event::Message =
        probe.next_where(|message: &event::Message| message.payload.as_text().is_none()).await;
    assert_eq!(received.epoch, 1);
    open.connection.send(command::Send::text("subscribe")).await.expect("it is accepted");
    open.connection
        .send(command::Send::text("the password").secret())
        .await
        .expect("it is accepted");
    probe.stopped().await;
    drop(connection);
    assert!(recorder.close(Duration::from_secs(10)));
    let figures = recorder.figures();
    let recorded = directory.entries();
    assert_eq!((figures.written, figures.dropped), (recorded.len() as u64, 0));
    assert!(
        recorded
            .iter()
            .all(|entry| &*entry.channel == "venue" && entry.source == open.source.value())
    );
    assert!(recorded.is_sorted_by_key(|entry| entry.wall), "the wall clock");
    let lines = lines(&recorded);
    let lines: Vec<_> =
        lines.iter().map(String::as_str).filter(|line| !line.starts_with("state")).collect();
    assert_eq!(
        lines,
        [
            "error \"refused\"",
            "open",
            "ping In p",
            "pong Out p",
            "in hello \"you\"\u{1}",
            "in binary \\x00\\xff",
            "out subscribe",
            "secret of 12",
            "close 1001",
            "stopped",
        ]
    );
}

#[actix::test]
async fn a_queue_without_room_drops_and_counts_and_the_connection_goes_on() {
    let directory = Directory::new("room");
    let recorder = Recorder::builder(&directory.0).queue_bytes(1).start().expect("it starts");
    let sent = 2000;
    let script =
        (0..sent).fold(Script::accept(), |script, number| script.send_text(number.to_string()));
    let server = Server::start(script.send_close(1000, ""));
    let probe = Probe::new();
    let builder = Connection::builder(server.url()).record(&recorder).no_reconnect();
    let connection = probe.attach(builder).start().expect("it starts");
    assert_eq!(probe.stopped().await.to_string(), "closed by the server with 1000");
    drop(connection);
    assert_eq!(probe.all::<event::Message>().len(), sent);
    assert!(recorder.close(Duration::from_secs(10)));
    let figures = recorder.figures();
    assert!(figures.dropped > 0, "{figures:?}");
    let recorded = directory.entries();
    let dropped: u64 = recorded
        .iter()
        .map(|entry| if let What::Dropped(count) = entry.what { count } else { 0 })
        .sum();
    let events =
        recorded.iter().filter(|entry| !matches!(entry.what, What::Dropped(_))).count() as u64;
    assert_eq!((events, dropped), (figures.written, figures.dropped), "each is marked in the file");
}

#[test]
fn options_and_directories_that_cannot_be_are_refused() {
    let directory = Directory::new("refused");
    let refused = |builder: actix_ws_client::record::Builder| {
        builder.start().expect_err("it is refused").to_string()
    };
    let builder = || Recorder::builder(&directory.0);
    assert_eq!(refused(builder().file_bytes(0)), "`file_bytes` must be above zero");
    assert_eq!(
        refused(builder().name("a/b")),
        "`name` must have letters, digits, `-`, `_` and `.` alone, and is `a/b`"
    );
    assert!(!directory.0.exists());
    let text = refused(Recorder::builder("/dev/null/x"));
    assert!(text.starts_with("/dev/null/x: "), "{text}");
}

#[test]
fn a_file_that_is_cut_anywhere_is_read_up_to_its_last_whole_chunk() {
    let directory = Directory::new("cut");
    let recorder = Recorder::builder(&directory.0).start().expect("it starts");
    actix::System::new().block_on(async {
        let server = Server::start(Script::accept().echo());
        let probe = Probe::new();
        let builder = Connection::builder(server.url()).record(&recorder);
        let connection = probe.attach(builder).start().expect("it starts");
        let open: event::Open = probe.next().await;
        for number in 0..5 {
            open.connection
                .send(command::Send::text(number.to_string()))
                .await
                .expect("it is accepted");
            let _: event::Message = probe.next().await;
            assert!(recorder.flush(Duration::from_secs(10)));
        }
        drop(connection);
    });
    assert!(recorder.close(Duration::from_secs(10)));
    let path = directory.files().remove(0);
    let whole = std::fs::read(&path).expect("it can be read");
    let all = entries(&path).len();
    let mut last = 0;
    for end in 0..whole.len() {
        let mut reader = Reader::new(std::io::Cursor::new(whole[..end].to_vec()));
        let read: Vec<_> = reader.by_ref().collect();
        assert!(read.iter().all(Result::is_ok), "{end}: {read:?}");
        assert!(reader.is_torn() && read.len() >= last, "{end}");
        last = read.len();
    }
    assert_eq!(last, all, "all but the index is read");
}

/// Set for the process that is killed.
const KILLED: &str = "RECORD_UNTIL_KILLED";

/// Records until the process is killed. Prints a number once its message was flushed. In a run of all tests it
/// does nothing: the test below runs it.
#[test]
fn a_process_that_is_killed() {
    let Some(directory) = std::env::var_os(KILLED) else { return };
    let recorder = Recorder::builder(directory).start().expect("it starts");
    actix::System::new().block_on(async {
        let server = Server::start(Script::accept().echo());
        let probe = Probe::new();
        let builder = Connection::builder(server.url()).record(&recorder);
        let _connection = probe.attach(builder).start().expect("it starts");
        let open: event::Open = probe.next().await;
        for number in 0_u64.. {
            open.connection
                .send(command::Send::text(number.to_string()))
                .await
                .expect("it is accepted");
            let _: event::Message = probe.next().await;
            if number % 16 == 0 {
                assert!(recorder.flush(Duration::from_secs(10)));
                println!("flushed {number}");
            }
        }
    });
}

#[test]
#[cfg(unix)]
fn what_was_flushed_survives_kill_9_at_any_moment() {
    let moments: u64 =
        std::env::var("RECORD_KILLS").map_or(10, |text| text.parse().expect("a number"));
    for moment in 0..moments {
        let directory = Directory::new(&format!("killed-{moment}"));
        let mut child = std::process::Command::new(std::env::current_exe().expect("a path"))
            .args(["--exact", "a_process_that_is_killed", "--nocapture"])
            .env(KILLED, &directory.0)
            .stdout(std::process::Stdio::piped())
            .spawn()
            .expect("it runs");
        let lines =
            std::io::BufRead::lines(std::io::BufReader::new(child.stdout.take().expect("a pipe")));
        // The moment is anywhere within a flush: a number of lines, and then some hundred microseconds.
        let flushed = lines
            .map_while(Result::ok)
            .filter_map(|line| line.strip_prefix("flushed ")?.parse::<u64>().ok());
        let mut flushed = flushed.skip(moment as usize % 7);
        let mut last = flushed.next().expect("it records");
        std::thread::sleep(Duration::from_micros(moment * 7919 % 5000));
        child.kill().expect("it is killed");
        // What it had printed before.
        last = flushed.last().unwrap_or(last);
        child.wait().expect("it ends");
        let file = directory.files().remove(0);
        let mut reader = Reader::open(&file).expect("it opens");
        let read: Result<Vec<_>, _> = reader.by_ref().collect();
        let read = read.expect("it can be read");
        assert!(reader.is_torn());
        let received: Vec<u64> = read
            .iter()
            .filter_map(|entry| {
                if let What::Received(payload) = &entry.what {
                    payload.as_text()?.parse().ok()
                } else {
                    None
                }
            })
            .collect();
        assert!(received.iter().copied().eq(0..received.len() as u64), "without a hole");
        assert!(received.last() >= Some(&last), "{:?} of {last}", received.last());
    }
}

#[actix::test]
async fn what_is_recorded_reaches_the_file_within_the_flush_interval_without_a_call() {
    let directory = Directory::new("interval");
    let recorder = Recorder::builder(&directory.0)
        .flush_every(Duration::from_millis(20))
        .start()
        .expect("it starts");
    let server = Server::start(Script::accept().send_text("hi").stall_forever());
    let probe = Probe::new();
    let builder = Connection::builder(server.url()).record(&recorder);
    let _connection = probe.attach(builder).start().expect("it starts");
    let _: event::Message = probe.next().await;
    let file = directory.files().remove(0);
    let is_in_file = || {
        let read: Vec<_> = Reader::open(&file).expect("it opens").map_while(Result::ok).collect();
        lines(&read).contains(&"in hi".to_owned())
    };
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    while !is_in_file() {
        assert!(std::time::Instant::now() < deadline, "not within 10 s");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
