//! A running `wsup feed --serve`, and a client that asks it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::files::Folder;
use crate::process::Wsup;

/// Nothing here takes as long.
const PATIENCE: Duration = Duration::from_secs(20);

/// A feed that is watched.
pub(crate) struct Watched {
    pub(crate) wsup: Wsup,
    pub(crate) port: u16,
    pub(crate) folder: Folder,
    pub(crate) path: String,
}

/// An answer over HTTP.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Watched {
    /// Runs a file and serves on a port of its own, with further flags.
    pub(crate) fn run(file: &str, args: &[&str]) -> Watched {
        let mut watched = Watched::unread(file, args);
        // A stdout that is not read would hold the feed.
        watched.wsup.drain();
        watched
    }

    /// Runs like [`run`](Watched::run), but leaves stdout to be read.
    pub(crate) fn unread(file: &str, args: &[&str]) -> Watched {
        let folder = Folder::new();
        let path = folder.write("venue.toml", file);
        let all = [&["feed", &path, "--json", "--serve", "127.0.0.1:0"], args].concat();
        let (wsup, stderr) = Wsup::with_stderr(&all, Stdio::null(), &[]);
        let mut stderr = BufReader::new(stderr);
        let mut said = String::new();
        let port = loop {
            let start = said.len();
            assert!(stderr.read_line(&mut said).unwrap() > 0, "it does not serve: {said}");
            if let Some((_, rest)) = said[start..].split_once("serves http://127.0.0.1:") {
                break rest.trim().trim_end_matches('/').parse().unwrap();
            }
        };
        std::thread::spawn(move || std::io::copy(&mut stderr, &mut std::io::sink()));
        Watched { wsup, port, folder, path }
    }

    /// Asks for a path.
    pub(crate) fn get(&self, path: &str) -> Reply {
        self.get_with(path, "")
    }

    /// Asks for a path with header lines; one may be `Host`.
    pub(crate) fn get_with(&self, path: &str, lines: &str) -> Reply {
        let host = match lines.contains("Host: ") {
            true => String::new(),
            false => format!("Host: 127.0.0.1:{}\r\n", self.port),
        };
        let text =
            self.send(&format!("GET {path} HTTP/1.1\r\n{host}{lines}Connection: close\r\n\r\n"));
        let (head, body) = text.split_once("\r\n\r\n").expect(&text);
        let status = head[9..12].parse().unwrap();
        Reply { status, head: head.to_owned(), body: body.to_owned() }
    }

    /// Sends these bytes, and returns what comes until the server ends the connection.
    pub(crate) fn send(&self, bytes: &str) -> String {
        let mut stream = self.connect();
        stream.write_all(bytes.as_bytes()).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// Opens `/events`, and returns what comes.
    pub(crate) fn events(&self) -> BufReader<TcpStream> {
        let mut stream = self.connect();
        write!(stream, "GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        BufReader::new(stream)
    }

    /// Asks for a path until the answer is this.
    pub(crate) fn until(&self, path: &str, is_it: impl Fn(&Reply) -> bool) -> Reply {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let reply = self.get(path);
            if is_it(&reply) {
                return reply;
            }
            assert!(Instant::now() < deadline, "{path} stays {reply:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until the feed is healthy.
    pub(crate) fn healthy(&self) {
        self.until("/health", |reply| reply.status == 200);
    }
}

impl Reply {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).expect(&self.body)
    }
}
