//! awc with an actor, as in its examples: a `StreamHandler` for its frames, a `SinkWrite` for sending.

use actix::io::{SinkWrite, WriteHandler};
use actix::{Actor, ActorContext, Addr, AsyncContext, Context, StreamHandler, System};
use actix_codec::Framed;
use anyhow::{Result, bail};
use awc::BoxedSocket;
use awc::error::WsProtocolError;
use awc::ws::{Codec, Frame, Message};
use futures_util::StreamExt;
use futures_util::stream::SplitSink;
use tokio::sync::oneshot;

use crate::actors::{Echoes, Shared, told};
use crate::clients::awc::{Parts, dial};
use crate::dial::Dial;
use crate::pull::{Alive, handshakes, idle};
use crate::tally::Outcome;
use crate::works::{Kind, Work};

type Sink = SplitSink<Framed<BoxedSocket, Codec>, Message>;

/// The actor of one connection.
struct Client {
    sink: SinkWrite<Message, Sink>,
    parts: Parts,
    job: Job,
}

/// What it does.
enum Job {
    Count(Shared),
    Echo(Box<Echoes>),
    /// Closes the connection, and reports when it is closed.
    Close(Option<oneshot::Sender<()>>),
}

impl Client {
    /// Dials, and starts an actor.
    async fn start(to: &Dial, job: Job) -> Result<Addr<Client>> {
        let (sink, stream) = dial(to).await?.split();
        Ok(Client::create(|ctx| {
            ctx.add_stream(stream);
            Client { sink: SinkWrite::new(sink, ctx), parts: Parts::default(), job }
        }))
    }

    fn send(&mut self, message: Message) {
        // Only a closed sink refuses it, and then the stream ends too.
        let _ = self.sink.write(message);
    }
}

impl Actor for Client {
    type Context = Context<Client>;

    fn started(&mut self, _: &mut Context<Client>) {
        match &mut self.job {
            Job::Count(_) => {}
            Job::Echo(echoes) => {
                let first = echoes.first();
                self.send(Message::Binary(first));
            }
            Job::Close(_) => self.send(Message::Close(None)),
        }
    }

    fn stopped(&mut self, _: &mut Context<Client>) {
        if let Job::Close(done) = &mut self.job
            && let Some(done) = done.take()
        {
            let _ = done.send(());
        }
    }
}

impl WriteHandler<WsProtocolError> for Client {}

impl StreamHandler<Result<Frame, WsProtocolError>> for Client {
    fn handle(&mut self, frame: Result<Frame, WsProtocolError>, ctx: &mut Context<Client>) {
        match (frame, &mut self.job) {
            (Ok(Frame::Ping(payload)), _) => self.send(Message::Pong(payload)),
            (Ok(Frame::Close(_)) | Err(_), _) => ctx.stop(),
            (Ok(Frame::Binary(message)), Job::Echo(echoes)) => {
                if let Some(next) = echoes.take(&message) {
                    self.send(Message::Binary(next));
                }
            }
            (Ok(frame), Job::Count(shared)) => {
                if shared.fill(|tally| self.parts.take(frame, tally)).is_err() {
                    ctx.stop();
                }
            }
            (Ok(_), _) => {}
        }
    }
}

impl Alive for Addr<Client> {
    fn is_alive(&self) -> bool {
        self.connected()
    }
}

/// Does a work.
pub fn run(work: &Work, count: u64, to: &Dial) -> Result<Outcome> {
    System::new().block_on(async {
        match work.kind {
            Kind::Inbound { .. } => flooded(to, count, 1).await,
            Kind::Many { connections, .. } => flooded(to, count, connections).await,
            Kind::Latency { size } => {
                let (echoes, done) = Echoes::new(count, size);
                let _client = Client::start(to, Job::Echo(Box::new(echoes))).await?;
                told(done).await?
            }
            Kind::Idle { .. } => {
                let (shared, _) = Shared::new(1);
                idle(count, || Client::start(to, Job::Count(shared.clone()))).await
            }
            Kind::Handshake { at_once, .. } => handshakes(count, at_once, || closed(to)).await,
            Kind::Outbound { .. } => bail!("it can't do {}", work.name),
        }
    })
}

async fn flooded(to: &Dial, count: u64, connections: u64) -> Result<Outcome> {
    let (shared, done) = Shared::new(count);
    let dials = (0..connections).map(|_| Client::start(to, Job::Count(shared.clone())));
    let _clients = futures_util::future::try_join_all(dials).await?;
    told(done).await?;
    Ok(shared.outcome())
}

/// Opens a connection, and closes it.
async fn closed(to: &Dial) -> Result<()> {
    let (done, wait) = oneshot::channel();
    let _client = Client::start(to, Job::Close(Some(done))).await?;
    told(wait).await
}
