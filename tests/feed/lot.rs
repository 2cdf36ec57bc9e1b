//! Venues of any kind, in memory and in simulated time. Each holds its clients to its written rules, drops those who
//! break one, and counts all that it sees.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::io::DuplexStream;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::Instant;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{Request as Upgrade, Response};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;

/// The rules of one kind of venue.
pub(crate) trait Kind: Default + Send + 'static {
    /// What it knows of a connection.
    type Client: Default + Send + 'static;
    /// At most this many frames of a connection in a second.
    const FRAMES: usize;
    /// At most this many bytes in a frame.
    const FRAME_BYTES: usize;

    /// Sees the query of a dial's URL. Returns the rule that the dial breaks.
    fn open(&mut self, query: &str) -> Result<(), String> {
        let _ = query;
        Ok(())
    }

    /// Reads a message that came this long after the opening. Returns the answers, or the rule that was broken.
    fn hear(
        &mut self,
        client: &mut Self::Client,
        text: &str,
        age: Duration,
    ) -> Result<Vec<String>, String>;

    /// Returns how long the answers to the last message of a client take.
    fn delay(_: &Self::Client) -> Duration {
        Duration::ZERO
    }

    /// Returns the rule that a client breaks by doing nothing.
    fn overdue(&self, client: &Self::Client, age: Duration) -> Option<String>;

    /// Numbers the next update of a topic.
    fn tick(&mut self, topic: &str);

    /// Returns the newest update of a topic for a client; `None` if it has not subscribed.
    fn update(&self, client: &mut Self::Client, topic: &str) -> Option<String>;

    /// Returns the topics of a client.
    fn subscribed(client: &Self::Client) -> &BTreeSet<String>;
}

pub(crate) struct Lot<K: Kind>(Arc<Mutex<State<K>>>);

impl<K: Kind> Clone for Lot<K> {
    fn clone(&self) -> Self {
        Lot(self.0.clone())
    }
}

impl<K: Kind> Default for Lot<K> {
    fn default() -> Self {
        Lot(Arc::new(Mutex::new(State {
            kind: K::default(),
            dials: Vec::new(),
            breaches: Vec::new(),
            messages: 0,
            clients: BTreeMap::new(),
        })))
    }
}

pub(crate) struct State<K: Kind> {
    pub(crate) kind: K,
    /// When each dial arrived.
    pub(crate) dials: Vec<Instant>,
    /// Rules that were broken.
    pub(crate) breaches: Vec<String>,
    /// Messages that were received.
    pub(crate) messages: usize,
    clients: BTreeMap<usize, (K::Client, UnboundedSender<Order>)>,
}

enum Order {
    Say(String),
    Cut,
}

impl<K: Kind> Lot<K> {
    pub(crate) fn state(&self) -> MutexGuard<'_, State<K>> {
        self.0.lock().unwrap()
    }

    /// Returns the client's end of a new connection.
    pub(crate) fn accept(&self) -> impl Future<Output = io::Result<DuplexStream>> + use<K> {
        let (client, server) = tokio::io::duplex(1 << 16);
        self.state().dials.push(Instant::now());
        let id = self.state().dials.len();
        tokio::task::spawn_local(self.clone().serve(server, id));
        std::future::ready(Ok(client))
    }

    /// Sends the next update of a topic to those who have subscribed, or loses it on the way.
    pub(crate) fn tick(&self, topic: &str, is_lost: bool) {
        let state = &mut *self.state();
        state.kind.tick(topic);
        for (client, to) in state.clients.values_mut() {
            let text = state.kind.update(client, topic);
            if let Some(text) = text.filter(|_| !is_lost) {
                let _ = to.send(Order::Say(text));
            }
        }
    }

    /// Sends the same text to all clients.
    pub(crate) fn say(&self, text: &str) {
        let state = self.state();
        let all = state.clients.values();
        all.for_each(|(_, to)| drop(to.send(Order::Say(text.to_owned()))));
    }

    /// Cuts all connections without a Close frame.
    pub(crate) fn cut(&self) {
        self.state().clients.values().for_each(|(_, to)| drop(to.send(Order::Cut)));
    }

    /// Returns all topics that are subscribed, on whichever connection.
    pub(crate) fn subscribed(&self) -> BTreeSet<String> {
        let state = self.state();
        state.clients.values().flat_map(|(client, _)| K::subscribed(client).clone()).collect()
    }

    async fn serve(self, stream: DuplexStream, id: usize) {
        let mut query = String::new();
        #[expect(clippy::result_large_err, reason = "tungstenite's own")]
        let see = |upgrade: &Upgrade, response: Response| {
            query = upgrade.uri().query().unwrap_or_default().to_owned();
            Ok(response)
        };
        let Ok(mut socket) = tokio_tungstenite::accept_hdr_async(stream, see).await else { return };
        let opened = self.state().kind.open(&query);
        if let Err(breach) = opened {
            return self.state().breaches.push(breach);
        }
        let (to, mut orders) = unbounded_channel();
        self.state().clients.insert(id, (K::Client::default(), to));
        if let Err(breach) = self.talk(&mut socket, &mut orders, id).await {
            let close = CloseFrame { code: 1008.into(), reason: breach.clone().into() };
            self.state().breaches.push(breach);
            let _ = socket.close(Some(close)).await;
        }
        self.state().clients.remove(&id);
    }

    async fn talk(
        &self,
        socket: &mut WebSocketStream<DuplexStream>,
        orders: &mut UnboundedReceiver<Order>,
        id: usize,
    ) -> Result<(), String> {
        let (opened, mut frames) = (Instant::now(), Vec::new());
        let mut checks = tokio::time::interval(Duration::from_millis(100));
        loop {
            tokio::select! {
                biased;
                order = orders.recv() => match order {
                    Some(Order::Say(text)) => drop(socket.send(Message::text(text)).await),
                    Some(Order::Cut) | None => return Ok(()),
                },
                _ = checks.tick() => {
                    let state = self.state();
                    let Some((client, _)) = state.clients.get(&id) else { return Ok(()) };
                    state.kind.overdue(client, opened.elapsed()).map_or(Ok(()), Err)?;
                }
                frame = socket.next() => {
                    let Some(Ok(frame)) = frame else { return Ok(()) };
                    frames.push(Instant::now());
                    let recent = frames.iter().filter(|at| at.elapsed() < Duration::from_secs(1));
                    if recent.count() > K::FRAMES {
                        return Err("too many frames in a second".to_owned());
                    }
                    let Message::Text(text) = frame else { continue };
                    if text.len() > K::FRAME_BYTES {
                        return Err(format!("a frame of {} bytes", text.len()));
                    }
                    self.hear(id, &text, opened.elapsed())?;
                }
            }
        }
    }

    fn hear(&self, id: usize, text: &str, age: Duration) -> Result<(), String> {
        let state = &mut *self.state();
        state.messages += 1;
        let Some((client, to)) = state.clients.get_mut(&id) else { return Ok(()) };
        let answers = state.kind.hear(client, text, age)?;
        let (to, delay) = (to.clone(), K::delay(client));
        let answer = move || answers.into_iter().for_each(|it| drop(to.send(Order::Say(it))));
        if delay.is_zero() {
            answer();
        } else {
            tokio::task::spawn_local(async move {
                tokio::time::sleep(delay).await;
                answer();
            });
        }
        Ok(())
    }
}
