//! `${file:PATH}`: read for each dial, and never shown.

use std::process::Stdio;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::json;

use crate::files::Folder;
use crate::process::{Wsup, parse};
use crate::run::ids;
use crate::sim::{self, Numbers, Protocol, Sim};
use crate::venues::RequestIds;

/// Takes one token for each dial, makes the next, and repeats the token in a refusal.
struct OneTime {
    ids: RequestIds,
    number: usize,
    /// Where the client reads the token.
    file: String,
}

fn token(number: usize) -> String {
    format!("t0ken-number-{number}")
}

impl Protocol for OneTime {
    fn path(&mut self, path: &str) -> Result<(), String> {
        std::fs::write(&self.file, token(self.number + 1)).unwrap();
        match path.ends_with(&token(self.number)) {
            true => Ok(()),
            false => Err(format!("not the token {}: {path}", self.number)),
        }
    }

    fn read(&mut self, text: &str) -> Result<Vec<String>, String> {
        let request = sim::parse(text)?;
        if text.contains("GONE") {
            let msg = format!("{} may not read it", token(self.number));
            let answer = json!({ "id": request["id"], "error": { "code": 2, "msg": msg } });
            return Ok(vec![answer.to_string()]);
        }
        self.ids.read(text)
    }

    fn tick(&mut self, numbers: &Numbers) -> Vec<String> {
        self.ids.tick(numbers)
    }
}

/// Runs until a second socket brings data. Returns all that was shown.
fn shown(args: &[&str]) -> String {
    let folder = Folder::new();
    let file = folder.write("token", &token(0));
    let (number, path) = (AtomicUsize::new(0), file.clone());
    let sim = Sim::run(move || {
        let number = number.fetch_add(1, Ordering::SeqCst);
        OneTime { ids: RequestIds::default(), number, file: path.clone() }
    });
    let url = format!("{}?token=${{file:{file}}}", sim.url());
    let path = folder.write("venue.toml", &ids(&url, &["a", "b", "GONE"]));
    let args = [&["feed", &path, "--reconnect", "1ms", "--messages", "30"], args].concat();
    let ended = Wsup::spawn(&args, Stdio::null(), &[]).end();
    assert_eq!(ended.status, 0, "{}", ended.stderr);
    assert!(sim.sockets.load(Ordering::SeqCst) >= 2);
    sim.is_content();
    ended.rest.join("\n") + &ended.stderr
}

#[test]
fn each_dial_reads_its_token_and_no_line_shows_it() {
    let json = shown(&["--json"]);
    assert!(!json.contains("t0ken"), "{json}");
    let refused = json.lines().find(|line| line.contains("refused")).unwrap();
    assert_eq!(parse(refused)["reason"], "*** may not read it (code 2)");
    let words = shown(&[]);
    assert!(!words.contains("t0ken"), "{words}");
    assert!(words.contains("GONE: refused for good: *** may not read it (code 2)"), "{words}");
}
