//! The short examples run to a good end.

use std::process::Command;

fn run(name: &str) -> String {
    let test = std::env::current_exe().unwrap();
    let example = test.ancestors().nth(2).unwrap().join("examples").join(name);
    let output = Command::new(&example)
        .output()
        .unwrap_or_else(|err| panic!("{example:?}: {err}; cargo build --examples"));
    let text = String::from_utf8(output.stdout).unwrap();
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name}: {}\n{text}{words}", output.status);
    text
}

#[test]
fn echo_gets_every_line_back() {
    let text = run("echo");
    assert!(text.contains("message: hello\nmessage: how are you?\nmessage: goodbye\n"), "{text}");
    assert!(text.contains("close: 1000 by Local, clean: true"), "{text}");
}

#[test]
fn reconnect_outlives_its_server() {
    let text = run("reconnect");
    assert_eq!(text.matches("open again").count(), 4, "{text}");
    for cause in ["without a Close frame", "with 1012", "status 503", "refused", "silent"] {
        assert!(text.contains(cause), "{cause} in {text}");
    }
}
