//! Sends messages of all sizes to an echo server, all compressed and some in fragments, and checks
//! the echoes.
//!
//! `deflate_echo URL [PARAMETER..]`: the parameters to offer, as in the extension's header
//! (`server_no_context_takeover`, `server_max_window_bits=10`). Prints the negotiated parameters,
//! and the bytes of the messages, sent and received. `tests/interop/deflate` runs it.

use std::error::Error;
use std::time::Duration;

use actix_ws_client::testing::Probe;
use actix_ws_client::{Compression, Connection, Payload, command, event};

/// Parses the parameters of the command line, without the defaults.
fn offer(words: &[String]) -> Result<Compression, Box<dyn Error>> {
    let mut offer = Compression::new()
        .threshold(0)
        .client_no_context_takeover(false)
        .client_max_window_bits(None);
    for word in words {
        let (name, bits) = match word.split_once('=') {
            Some((name, bits)) => (name, Some(bits.parse()?)),
            None => (word.as_str(), None),
        };
        offer = match name {
            "server_no_context_takeover" => offer.server_no_context_takeover(true),
            "client_no_context_takeover" => offer.client_no_context_takeover(true),
            "server_max_window_bits" => offer.server_max_window_bits(bits),
            "client_max_window_bits" => offer.client_max_window_bits(bits.unwrap_or(15)),
            _ => return Err(format!("no such parameter: {word}").into()),
        };
    }
    Ok(offer)
}

/// Creates the messages: many small and similar ones, some long, and some incompressible.
fn messages() -> Vec<Payload> {
    let quote = |n: u64| {
        let bid = n * 7919 % 100_000;
        format!(
            r#"{{"symbol":"ETHBTC","bid":{bid},"ask":{},"venue":"somewhere","n":{n}}}"#,
            bid + 1
        )
    };
    let noise = |length: u64| -> Vec<u8> {
        (0..length).map(|n| (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 29) as u8).collect()
    };
    let long: String = (0..1_000).map(quote).collect();
    let others = [
        Payload::from(""),
        Payload::from(Vec::new()),
        long.clone().into(),
        noise(5_000).into(),
        vec![0; 500_000].into(),
        "z\u{fc}rich \u{1f980}".repeat(8_000).into(),
        noise(70_000).into(),
        long.into(),
    ];
    let small = |from| (from..from + 1_000).map(quote).map(Payload::from);
    small(0).chain(others).chain(small(1_000)).collect()
}

#[actix::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut words = std::env::args().skip(1);
    let url = words.next().ok_or("no URL")?;
    let builder =
        Connection::builder(url).no_reconnect().compression(offer(&words.collect::<Vec<_>>())?);
    let watch = builder.watch();
    let probe = Probe::new().patience(Duration::from_secs(40));
    let connection = probe.attach(builder).start()?;
    let open = tokio::select! {
        open = probe.next::<event::Open>() => open,
        outcome = probe.stopped() => {
            let error = outcome.error.ok_or("closed")?;
            println!("error: {error}");
            return Err(error.into());
        }
    };
    println!("agreed: {}", open.handshake.extensions.as_deref().unwrap_or_default());
    let messages = messages();
    for (number, message) in messages.iter().enumerate() {
        let message = message.clone();
        let send = match number % 4 {
            // Many frames for a long message, two or three for a short one.
            3 => command::Send::fragments(message, 30),
            _ => message.into(),
        };
        connection.send(send).await??;
    }
    for (number, message) in messages.iter().enumerate() {
        let came = probe.next_message().await.payload;
        if came != *message {
            return Err(format!("message {number} came back otherwise").into());
        }
    }
    connection.do_send(command::Close::normal());
    probe.stopped().await;
    let figures = watch.figures();
    let plain: usize = messages.iter().map(Payload::len).sum();
    println!("plain: {plain}\nout: {}\nin: {}", figures.bytes_out, figures.bytes_in);
    Ok(())
}
