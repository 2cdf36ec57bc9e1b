//! ezsockets: its own connector, which is tokio-tungstenite's, with its default heartbeats and
//! reconnection.

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Result, anyhow, bail};
use async_trait::async_trait;
use bytes::Bytes;
use ezsockets::{Client, ClientConfig, ClientExt, Error, MessageStatus, Utf8Bytes};
use tokio::runtime::Builder;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::actors::{Echoes, told};
use crate::dial::Dial;
use crate::pull::{Alive, Outgoing, handshakes, idle};
use crate::tally::{Outcome, Stamp, Tally};
use crate::works::{Kind, Work};

/// The most messages in flight: its queue is unbounded.
const CHUNK: usize = 64;

/// The handler of one connection.
struct Handler {
    client: Client<Handler>,
    job: Job,
    open: Option<oneshot::Sender<()>>,
}

/// What it does.
enum Job {
    Nothing,
    Count(Arc<Count>),
    Echo(Box<Echoes>),
}

/// The tally of all handlers, which may be on any thread.
struct Count(Mutex<(Tally, Option<oneshot::Sender<()>>)>);

impl Count {
    fn new(wanted: u64) -> (Arc<Count>, oneshot::Receiver<()>) {
        let (done, wait) = oneshot::channel();
        (Arc::new(Count(Mutex::new((Tally::new(wanted), Some(done))))), wait)
    }

    fn fill(&self, fill: impl FnOnce(&mut Tally)) {
        let (tally, done) = &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        fill(tally);
        if tally.is_done()
            && let Some(done) = done.take()
        {
            let _ = done.send(());
        }
    }

    fn outcome(&self) -> Outcome {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).0.outcome()
    }
}

#[async_trait]
impl ClientExt for Handler {
    type Call = ();

    async fn on_text(&mut self, text: Utf8Bytes) -> Result<(), Error> {
        if let Job::Count(count) = &self.job {
            count.fill(|tally| tally.add_text(&text));
        }
        Ok(())
    }

    async fn on_binary(&mut self, bytes: Bytes) -> Result<(), Error> {
        match &mut self.job {
            Job::Nothing => {}
            Job::Count(count) => count.fill(|tally| tally.add(&bytes)),
            Job::Echo(echoes) => {
                if let Some(next) = echoes.take(&bytes) {
                    self.client.binary(next)?;
                }
            }
        }
        Ok(())
    }

    async fn on_call(&mut self, (): ()) -> Result<(), Error> {
        Ok(())
    }

    async fn on_connect(&mut self) -> Result<(), Error> {
        if let Some(open) = self.open.take() {
            let _ = open.send(());
        }
        if let Job::Echo(echoes) = &mut self.job {
            self.client.binary(echoes.first())?;
        }
        Ok(())
    }
}

/// An open connection.
struct Open {
    client: Client<Handler>,
    /// Resolves when the connection has ended.
    run: JoinHandle<Result<(), Error>>,
}

impl Alive for Open {
    fn is_alive(&self) -> bool {
        !self.run.is_finished()
    }
}

async fn open(dial: &Dial, job: Job) -> Result<Open> {
    let (open, opened) = oneshot::channel();
    let handler = |client: Client<Handler>| Handler { client, job, open: Some(open) };
    let config = ClientConfig::new(dial.url());
    let (client, run) = ezsockets::connect(handler, config).await;
    let run = tokio::spawn(run);
    told(opened).await?;
    Ok(Open { client, run })
}

/// Does a work.
pub fn run(work: &Work, count: u64, dial: &Dial) -> Result<Outcome> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        match work.kind {
            Kind::Inbound { .. } => flooded(dial, count, 1).await,
            Kind::Many { connections, .. } => flooded(dial, count, connections).await,
            Kind::Outbound { size } => outbound(dial, count, size).await,
            Kind::Latency { size } => {
                let (echoes, done) = Echoes::new(count, size);
                let _open = open(dial, Job::Echo(Box::new(echoes))).await?;
                told(done).await?
            }
            Kind::Idle { .. } => idle(count, || open(dial, Job::Nothing)).await,
            Kind::Handshake { at_once, .. } => {
                handshakes(count, at_once, || async {
                    let open = open(dial, Job::Nothing).await?;
                    open.client.close(None).map_err(|err| anyhow!("{err}"))?;
                    open.run.await?.map_err(|err| anyhow!("{err}"))
                })
                .await
            }
        }
    })
}

async fn flooded(dial: &Dial, count: u64, connections: u64) -> Result<Outcome> {
    let (tally, done) = Count::new(count);
    let dials = (0..connections).map(|_| open(dial, Job::Count(tally.clone())));
    let _open = futures_util::future::try_join_all(dials).await?;
    told(done).await?;
    Ok(tally.outcome())
}

async fn outbound(dial: &Dial, count: u64, size: usize) -> Result<Outcome> {
    let (answer, done) = Count::new(1);
    let open = open(dial, Job::Count(answer)).await?;
    let mut outgoing = Outgoing::new(size);
    let start = Stamp::now();
    while outgoing.sum.count < count {
        let chunk = CHUNK.min((count - outgoing.sum.count) as usize);
        let mut last = None;
        for _ in 0..chunk {
            last = Some(open.client.binary(outgoing.next()).map_err(|err| anyhow!("{err}"))?);
        }
        while let Some(signal) = &last {
            match signal.status() {
                MessageStatus::Sending => tokio::task::yield_now().await,
                MessageStatus::Sent => break,
                MessageStatus::Failed => bail!("a message could not be sent"),
            }
        }
    }
    told(done).await?;
    Ok(Outcome { digest: outgoing.sum, cost: start.cost(), ..Outcome::default() })
}
