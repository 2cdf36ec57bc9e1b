//! actix-ws-client: a connection with its pinger, and an actor of ours that handles its events, so
//! that every message takes the hop. Reconnection and pings stay as they come; no compression.

use std::time::Duration;

use actix::{Actor, Addr, Context, Handler, System};
use actix_ws_client::proto::compression::Compression;
use actix_ws_client::tls::Tls;
use actix_ws_client::{
    Connection, ConnectionBuilder, Handle, OutcomeKind, Payload, Phase, SocketOptions, View, Watch,
    command, event,
};
use anyhow::{Result, ensure};
use base64::prelude::{BASE64_STANDARD, Engine};
use tokio::sync::oneshot;

use crate::actors::{Echoes, Shared, told};
use crate::dial::Dial;
use crate::pull::{Alive, Outgoing, handshakes, idle};
use crate::tally::{Outcome, Stamp, Tally};
use crate::works::{Kind, Work};

/// Sends between two looks at how much waits to be written.
const CHUNK: usize = 64;

/// Bytes that may wait to be written before the sender does: half of what a connection takes.
const UNSENT: u64 = 512 << 10;

/// The handler of one connection.
struct Client {
    job: Job,
    connection: Option<Handle>,
    open: Option<oneshot::Sender<Handle>>,
}

/// What it does.
enum Job {
    Nothing,
    /// Looks at each message, as a view of it or as one of its own.
    Count(Shared, Owned),
    Echo(Box<Echoes>),
    Close,
}

#[derive(Clone, Copy)]
struct Owned(bool);

impl Client {
    fn start(job: Job) -> (Addr<Client>, oneshot::Receiver<Handle>) {
        let (open, opened) = oneshot::channel();
        (Client { job, connection: None, open: Some(open) }.start(), opened)
    }

    fn send(&self, message: bytes::Bytes) {
        if let Some(connection) = &self.connection {
            connection.do_send(command::Send::binary(message));
        }
    }
}

impl Actor for Client {
    type Context = Context<Client>;

    /// Room for the messages of a read: by actix's default of 16 every seventeenth waits its turn.
    fn started(&mut self, ctx: &mut Context<Client>) {
        ctx.set_mailbox_capacity(1024);
    }
}

impl Handler<event::Open> for Client {
    type Result = ();

    fn handle(&mut self, open: event::Open, _: &mut Context<Client>) {
        match &mut self.job {
            Job::Nothing | Job::Count(..) => {}
            Job::Echo(echoes) => {
                let first = echoes.first();
                self.connection = Some(open.connection.clone());
                self.send(first);
            }
            Job::Close => {
                open.connection.do_send(command::Close::normal());
            }
        }
        if let Some(opened) = self.open.take() {
            let _ = opened.send(open.connection);
        }
    }
}

impl Handler<event::Message> for Client {
    type Result = ();

    fn handle(&mut self, message: event::Message, _: &mut Context<Client>) {
        match &mut self.job {
            Job::Nothing | Job::Close => {}
            Job::Count(shared, _) => shared.fill(|tally| take_owned(message.payload, tally)),
            Job::Echo(echoes) => {
                if let Some(next) = echoes.take(message.payload.as_bytes()) {
                    self.send(next);
                }
            }
        }
    }
}

impl Handler<event::Batch> for Client {
    type Result = ();

    fn handle(&mut self, batch: event::Batch, _: &mut Context<Client>) {
        match &self.job {
            Job::Count(shared, Owned(false)) => {
                shared.fill(|tally| batch.iter().for_each(|view| take(view, tally)));
            }
            Job::Count(shared, Owned(true)) => shared.fill(|tally| {
                let owned = (0..batch.len()).filter_map(|index| batch.payload(index));
                owned.for_each(|payload| take_owned(payload, tally));
            }),
            _ => {}
        }
    }
}

impl Handler<event::Error> for Client {
    type Result = ();

    fn handle(&mut self, failed: event::Error, _: &mut Context<Client>) {
        eprintln!("{}", failed.error);
    }
}

impl Handler<event::Close> for Client {
    type Result = ();

    fn handle(&mut self, _: event::Close, _: &mut Context<Client>) {}
}

fn take(view: View<'_>, tally: &mut Tally) {
    match view {
        View::Text(text) => tally.add_text(text),
        View::Binary(bytes) => tally.add(bytes),
    }
}

fn take_owned(payload: Payload, tally: &mut Tally) {
    match payload {
        Payload::Text(text) => tally.add_text(&text),
        Payload::Binary(bytes) => tally.add(&bytes),
    }
}

/// Sets what all our clients have.
pub fn configured(builder: ConnectionBuilder) -> ConnectionBuilder {
    // The others' sockets have neither.
    let sockets = SocketOptions::new().keepalive(None).user_timeout(None);
    builder.compression(Compression::off()).socket_options(sockets)
}

pub fn builder(dial: &Dial) -> Result<ConnectionBuilder> {
    let builder = configured(Connection::builder(dial.url()));
    let Some(certificate) = &dial.certificate else { return Ok(builder) };
    let pem = format!(
        "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n",
        BASE64_STANDARD.encode(certificate)
    );
    Ok(builder.tls(Tls::new().ca_pem(pem.as_bytes())?))
}

/// Does a work in one of our ways.
pub fn run(client: &str, work: &Work, count: u64, dial: &Dial) -> Result<Outcome> {
    System::new().block_on(async {
        match work.kind {
            Kind::Inbound { .. } => flooded(client, dial, count, 1).await,
            Kind::Many { connections, .. } => flooded(client, dial, count, connections).await,
            Kind::Outbound { size } => outbound(client, dial, count, size).await,
            Kind::Latency { size } => {
                let (echoes, done) = Echoes::new(count, size);
                let (handler, _) = Client::start(Job::Echo(Box::new(echoes)));
                let _connection = builder(dial)?.handler(&handler).start()?;
                told(done).await?
            }
            Kind::Idle { .. } => idle(count, || open(dial, Job::Nothing)).await,
            Kind::Handshake { at_once, .. } => handshakes(count, at_once, || closed(dial)).await,
        }
    })
}

async fn flooded(client: &str, dial: &Dial, count: u64, connections: u64) -> Result<Outcome> {
    let (shared, done) = Shared::new(count);
    let mut kept = Vec::new();
    for _ in 0..connections {
        let (handler, _) =
            Client::start(Job::Count(shared.clone(), Owned(client == "batch-owned")));
        let builder = match client {
            "message" => builder(dial)?.on_message_to(handler.recipient()),
            _ => builder(dial)?.on_batch_to(handler.recipient()),
        };
        kept.push(builder.start()?);
    }
    told(done).await?;
    Ok(shared.outcome())
}

/// A connection that is kept.
struct Open {
    watch: Watch,
    /// What handlers send through.
    handle: Handle,
    /// Without it there is no connection.
    _connection: Addr<Connection>,
}

impl Alive for Open {
    fn is_alive(&self) -> bool {
        self.watch.phase() == Phase::Open && self.watch.epoch() == 1
    }
}

/// An open connection, with a handler of its own.
async fn open(dial: &Dial, job: Job) -> Result<Open> {
    let (handler, opened) = Client::start(job);
    let builder = builder(dial)?.handler(&handler);
    let watch = builder.watch();
    let connection = builder.start()?;
    let handle = told(opened).await?;
    Ok(Open { watch, handle, _connection: connection })
}

/// Opens a connection, and closes it.
async fn closed(dial: &Dial) -> Result<()> {
    let handler = Client { job: Job::Close, connection: None, open: None }.start();
    let outcome = builder(dial)?.handler(handler).run().await?;
    ensure!(outcome.kind == OutcomeKind::Closed && outcome.epochs == 1, "{outcome:?}");
    Ok(())
}

async fn outbound(client: &str, dial: &Dial, count: u64, size: usize) -> Result<Outcome> {
    let (answer, done) = Shared::new(1);
    let open = open(dial, Job::Count(answer, Owned(false))).await?;
    let (handle, watch) = (open.handle.clone(), open.watch.clone());
    let mut outgoing = Outgoing::new(size);
    let batched = client == "connection-batch";
    let start = Stamp::now();
    // As a task, which is what handlers run in: what `block_on` was given is polled only after a look
    // at the operating system, at each answer.
    let sending = actix::spawn(async move {
        while outgoing.sum.count < count {
            let chunk = CHUNK.min((count - outgoing.sum.count) as usize);
            let mut sends = (0..chunk).map(|_| command::Send::binary(outgoing.next()));
            if batched {
                handle.send(command::SendBatch::new(sends)).await?;
            } else {
                // One of them is waited for: there is no bound for those that are not.
                let last = sends.next();
                sends.for_each(|send| {
                    handle.do_send(send);
                });
                if let Some(last) = last {
                    handle.send(last).await?;
                }
            }
            written(&watch).await;
        }
        anyhow::Ok(outgoing.sum)
    });
    let digest = sending.await??;
    told(done).await?;
    Ok(Outcome { digest, cost: start.cost(), ..Outcome::default() })
}

/// Waits until there is room again for what will be sent.
async fn written(watch: &Watch) {
    while watch.figures().unsent_bytes > UNSENT {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}
