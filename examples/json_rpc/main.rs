//! JSON-RPC 2.0 over a connection that comes back: eight threads call a server, which ends their socket meanwhile.
//! `cargo run -p example-json-rpc --example json_rpc`

mod server;

use std::error::Error;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use actix_ws_client::command::{Close, SendError};
use actix_ws_client::requests::{AskError, Requests};
use actix_ws_client::{Connection, View};
use serde_json::{Value, from_slice, json};

/// Returns the key of a response. What has a method is a notification or a question of the server's: it is no answer,
/// and goes to the handlers.
fn id(message: View<'_>) -> Option<u64> {
    let message = from_slice::<Value>(message.as_bytes()).ok()?;
    message["id"].as_u64().filter(|_| message.get("method").is_none())
}

/// Calls a method, and again where the socket is lost: only for what may run twice.
async fn call(asker: &Requests<u64>, method: &str, args: Value) -> Result<Value, Box<dyn Error>> {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    loop {
        asker.opened().await?;
        let id = NEXT.fetch_add(1, Relaxed);
        let call = json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": args });
        let answer = match asker.ask(id, call.to_string()).await {
            Err(AskError::Lost { .. } | AskError::Unsent(SendError::NotOpen(_))) => continue,
            answered => answered?,
        };
        let mut response: Value = from_slice(answer.as_bytes())?;
        return match response.get("error") {
            Some(error) => Err(error.to_string().into()),
            None => Ok(response["result"].take()),
        };
    }
}

/// Calls `add` 500 times.
async fn add(asker: Requests<u64>, thread: u64) {
    for number in 0..500 {
        let sum = call(&asker, "add", json!([thread, number])).await.expect("a sum");
        assert_eq!(sum, thread + number);
    }
}

#[actix::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let asker = Requests::new(id);
    let connection = Connection::builder(server::start().await?).requests(&asker).start()?;
    let runtime = tokio::runtime::Handle::current();
    let threads = [0, 1, 2, 3, 4, 5, 6, 7].map(|thread| {
        let (runtime, asker) = (runtime.clone(), asker.clone());
        std::thread::spawn(move || runtime.block_on(add(asker, thread)))
    });
    for thread in threads {
        tokio::task::spawn_blocking(|| thread.join()).await?.expect("every sum is right");
    }
    println!("an error: {}", call(&asker, "add", json!([u64::MAX, 1])).await.expect_err("one"));
    let outcome = connection.send(Close::normal()).await?;
    println!("4000 calls from 8 threads over {} sockets, {outcome}", outcome.epochs);
    Ok(())
}
