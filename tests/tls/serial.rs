//! What is known of a connection as JSON: keys, units, and what is left out.

use std::time::Duration;

use actix_ws_client::testing::{Probe, Script, Server};
use actix_ws_client::{CloseCode, Connection, Reconnect, command, event};
use serde_json::{Value, json};

/// The JSON of a value, with `_` for each number of milliseconds.
fn json_of(value: &impl serde::Serialize) -> Value {
    fn hide(value: &mut Value) {
        match value {
            Value::Object(object) => {
                for (key, value) in object {
                    match value {
                        Value::Number(number) if key.ends_with("_ms") => {
                            assert!(number.is_f64(), "{key}: {number}");
                            *value = json!("_");
                        }
                        _ => hide(value),
                    }
                }
            }
            Value::Array(array) => array.iter_mut().for_each(hide),
            _ => {}
        }
    }
    let mut value = serde_json::to_value(value).unwrap();
    hide(&mut value);
    value
}

#[actix::test]
async fn events_and_states_are_objects_without_payloads_and_secrets() {
    let script = Script::accept().header("Set-Cookie", "id=s3cr3t").header("X-Node", "7");
    let script = script.send_text("hunter2").send_ping("hunter2");
    let server = Server::start([script.send_close(1012, "restart"), Script::accept()]);
    let probe = Probe::new();
    let builder = Connection::builder(server.url()).name("feed");
    let builder = builder.reconnect(Reconnect::fixed(Duration::from_millis(10)));
    let connection = probe.attach(builder).start().unwrap();

    let first = probe.next::<event::Open>().await;
    let source = first.source.value();
    let open = json_of(&first);
    assert_eq!(
        (&open["source"], &open["epoch"], &open["name"]),
        (&json!(source), &json!(1), &json!("feed"))
    );
    assert_eq!((&open["outage"], open.get("connection")), (&Value::Null, None));
    assert_eq!(open["handshake"]["status"], 101);
    assert_eq!(open["handshake"]["timings"]["upgrade_ms"], "_");
    let lines = open["handshake"]["headers"].as_array().unwrap();
    assert!(
        lines.contains(&json!(["X-Node", "7"])) && lines.contains(&json!(["Set-Cookie", "***"])),
        "{lines:?}"
    );

    let message = json_of(&probe.next_message().await);
    assert_eq!(message, json!({ "source": source, "epoch": 1, "text": true, "length": 7 }));
    let ping = json_of(&probe.next::<event::Ping>().await);
    assert_eq!(ping, json!({ "source": source, "epoch": 1, "length": 7 }));
    let close = json_of(&probe.next::<event::Close>().await);
    let expected = json!({
        "source": source, "epoch": 1, "name": "feed", "attempt": 1, "code": 1012, "reason": "restart",
        "clean": true, "by": "remote", "unsent_messages": 0, "unsent_bytes": 0, "lasted_ms": "_",
        "peer": { "code": 1012, "reason": "restart" }, "next": { "after_ms": "_", "attempt": 2 },
    });
    assert_eq!(close, expected);

    probe.next_where(|open: &event::Open| open.epoch == 2).await;
    let again = probe.all::<event::Open>().pop().unwrap();
    assert_eq!(json_of(&again)["outage"]["duration_ms"], "_");
    let status = json_of(&connection.send(command::Status).await.unwrap());
    assert_eq!((&status["phase"], &status["waiting_for"]), (&json!("open"), &Value::Null));
    assert_eq!((&status["figures"]["messages_in"], &status["since_ms"]), (&json!(1), &json!("_")));
    assert_eq!(status["last_close"]["code"], 1012);
    let outcome = json_of(&connection.send(command::Close::normal()).await.unwrap());
    assert_eq!((&outcome["kind"], &outcome["close"]), (&json!("closed"), &json!([1000, ""])));
    let stopped = json_of(&probe.next::<event::Stopped>().await);
    assert_eq!(stopped["outcome"], outcome);
}

#[actix::test]
async fn a_failure_is_its_stage_and_its_text() {
    let server = Server::start(Script::refuse(401));
    let probe = Probe::new();
    let _connection = probe.attach(Connection::builder(server.url())).start().unwrap();
    let event = probe.next::<event::Error>().await;
    let json = json_of(&event);
    assert_eq!(json["error"], json!({ "stage": "refused", "text": event.error.to_string() }));
    assert_eq!(json["next"], Value::Null);
    assert_eq!(json_of(&CloseCode::GOING_AWAY), 1001);
    let send = command::Send::json(&json!({ "op": "subscribe" })).unwrap();
    assert_eq!(format!("{send:?}"), "Send(18 bytes)");
}
