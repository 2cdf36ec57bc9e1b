//! A handler whose actor has ended does not go unnoticed.

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use actix::{Actor, ActorContext, Context, Handler};
use actix_ws_client::command::status::Watch;
use actix_ws_client::proto::session::By;
use actix_ws_client::testing::{Probe, Script, Server};
use actix_ws_client::{Connection, Error, OutcomeKind, Phase, command, event};
use tracing::field::{Field, Visit};
use tracing::subscriber::DefaultGuard;
use tracing::{Dispatch, Event, Level, Subscriber};
use tracing_subscriber::layer::{Context as LayerContext, Layer, SubscriberExt};

/// The warnings and errors of this thread: level, text, and the field `unheard`.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<[String; 3]>>>);

impl Log {
    fn start() -> (Log, (DefaultGuard, Dispatch)) {
        let log = Log::default();
        let subscriber = tracing_subscriber::registry().with(log.clone());
        let guard = tracing::subscriber::set_default(subscriber);
        // While there is one subscriber only, `tracing` asks that of the thread which comes by a record first, and
        // takes "none", in another test's thread, for the answer of all.
        (log, (guard, Dispatch::new(tracing_subscriber::registry())))
    }

    fn take(&self) -> Vec<[String; 3]> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

impl<S: Subscriber> Layer<S> for Log {
    fn on_event(&self, event: &Event<'_>, _: LayerContext<'_, S>) {
        let level = *event.metadata().level();
        if level <= Level::WARN && event.metadata().target().starts_with("actix_ws_client") {
            let mut fields = Fields::default();
            event.record(&mut fields);
            self.0.lock().unwrap().push([level.to_string(), fields.text, fields.unheard]);
        }
    }
}

#[derive(Default)]
struct Fields {
    text: String,
    unheard: String,
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "unheard" {
            self.unheard = value.into();
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.text = format!("{value:?}");
        }
    }
}

/// Waits until the figures are as wanted.
async fn reached(watch: &Watch, handlers_ended: u64, unheard: u64) {
    let wanted = async {
        while watch.figures().handlers_ended < handlers_ended {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(10), wanted).await;
    let figures = watch.figures();
    waited.unwrap_or_else(|_| panic!("{figures:?}"));
    assert_eq!((figures.handlers_ended, figures.unheard), (handlers_ended, unheard));
}

fn panics() -> actix::Recipient<event::Message> {
    event::call(|_: event::Message| panic!("as the test wants it"))
}

#[actix::test]
async fn a_handler_that_panics_is_a_warning_and_the_last_of_its_kind_an_error() {
    let (log, _guard) = Log::start();
    let server = Server::start(Script::accept().echo());
    let probe = Probe::new();
    let builder = Connection::builder(server.url()).on_message_to(panics()).on_message_to(panics());
    let builder = builder.on_open_to(probe.recipient()).on_message_to(probe.recipient());
    let watch = builder.watch();
    let connection = builder.start().unwrap();
    probe.next::<event::Open>().await;
    let say = async |text: &str| {
        connection.send(command::Send::text(text.to_owned())).await.unwrap().unwrap();
    };
    // Each takes the first; an event that comes later finds out that they have ended.
    say("one").await;
    probe.next_message().await;
    say("two").await;
    probe.next_message().await;
    reached(&watch, 2, 0).await;
    let warning = || ["WARN", "a handler has ended", ""].map(String::from);
    assert_eq!(log.take(), [warning()]);
    let rest = probe.recipient::<event::Message>();
    assert!(connection.send(command::Unsubscribe(rest)).await.unwrap());
    assert_eq!(watch.figures().unheard, 0, "it was the application's wish");
    connection.send(command::Subscribe(panics())).await.unwrap().unwrap();
    // The next one may be in its mailbox before it has panicked at the first.
    let until_noticed = async {
        while watch.figures().handlers_ended < 3 {
            say("three").await;
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), until_noticed).await.unwrap();
    reached(&watch, 3, 1).await;
    let error = |unheard| ["ERROR", "the last handler of an event has ended", unheard];
    assert_eq!(log.take(), [error("Message").map(String::from)]);
    let status = connection.send(command::Status).await.unwrap();
    assert_eq!((status.phase, status.figures.unheard, status.handlers), (Phase::Open, 1, 1));
    connection
        .send(command::Subscribe(probe.recipient::<event::Message>()))
        .await
        .unwrap()
        .unwrap();
    let status = connection.send(command::Status).await.unwrap();
    assert_eq!((status.figures.handlers_ended, status.figures.unheard), (3, 0));
    connection.send(command::Close::normal()).await.unwrap();
    assert_eq!(log.take(), Vec::<[String; 3]>::new());
}

/// A handler that stops when it has received an `Open`.
struct Brief;

impl Actor for Brief {
    type Context = Context<Brief>;
}

impl Handler<event::Open> for Brief {
    type Result = ();

    fn handle(&mut self, _: event::Open, ctx: &mut Context<Brief>) {
        ctx.stop();
    }
}

impl Handler<event::Message> for Brief {
    type Result = ();

    fn handle(&mut self, _: event::Message, _: &mut Context<Brief>) {}
}

impl Handler<event::Error> for Brief {
    type Result = ();

    fn handle(&mut self, _: event::Error, _: &mut Context<Brief>) {}
}

impl Handler<event::Close> for Brief {
    type Result = ();

    fn handle(&mut self, _: event::Close, _: &mut Context<Brief>) {}
}

#[actix::test]
async fn a_handler_that_ends_while_nothing_comes_is_found_out_at_a_ping_and_by_status() {
    for pings in [true, false] {
        let server = Server::start(Script::accept().echo());
        let probe = Probe::new();
        let interval = pings.then_some(Duration::from_millis(20));
        let builder = Connection::builder(server.url()).ping_interval(interval);
        let builder = builder.handler(Brief.start()).on_close_to(probe.recipient());
        let watch = builder.watch();
        let connection = builder.start().unwrap();
        if pings {
            // Of its four kinds `Close` has another handler.
            reached(&watch, 4, 3).await;
            continue;
        }
        let status = async {
            loop {
                let figures = connection.send(command::Status).await.unwrap().figures;
                if figures.handlers_ended > 0 {
                    break (figures.handlers_ended, figures.unheard);
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        let figures = tokio::time::timeout(Duration::from_secs(10), status).await;
        assert_eq!(figures, Ok((4, 3)));
    }
}

#[actix::test]
async fn the_run_ends_if_the_builder_says_so() {
    let server = Server::start(Script::accept().send_text("boom").echo());
    let probe = Probe::new();
    let builder =
        Connection::builder(server.url()).on_message_to(panics()).on_ping_to(probe.recipient());
    let builder = builder.on_close_to(probe.recipient()).on_stopped_to(probe.recipient());
    let builder = builder.on_open_to(probe.recipient()).end_when_unheard(true);
    let builder = builder.ping_interval(Duration::from_millis(20));
    let outcome = tokio::time::timeout(Duration::from_secs(10), builder.run()).await;
    let outcome = outcome.unwrap().unwrap();
    assert_eq!((outcome.kind, outcome.by, outcome.epochs), (OutcomeKind::Refused, By::Local, 1));
    let error = outcome.error.unwrap();
    assert!(matches!(&error, Error::Unheard(kinds) if &**kinds == "Message"), "{error:?}");
    assert_eq!(error.to_string(), "no handler is left for Message: the last one has ended");
    assert_eq!(server.next_close().await.unwrap().code().value(), 1001);
    assert_eq!(probe.next::<event::Close>().await.reason, "no handler is left");
    assert_eq!(probe.stopped().await.kind, OutcomeKind::Refused);
}

#[actix::test]
async fn a_wait_for_a_dial_ends_too_and_a_close_that_was_asked_for_stays_one() {
    // The first socket is lost, and its handler ends with it. The next dial would be in an hour.
    let hour = actix_ws_client::Reconnect::fixed(Duration::from_secs(3600));
    let server = Server::start(Script::accept().drop_connection());
    let dies = event::call(|_: event::Error| panic!("as the test wants it"));
    let builder = Connection::builder(server.url()).on_error_to(dies).reconnect(hour.clone());
    let watch = builder.watch();
    let connection = builder.end_when_unheard(true).start().unwrap();
    let closed = async {
        while watch.phase() != Phase::Closed {
            connection.send(command::Status).await.unwrap();
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), closed).await.expect("the run ends");
    let outcome = connection.send(command::Close::normal()).await.unwrap();
    assert!(matches!(outcome.error, Some(Error::Unheard(_))), "{outcome:?}");
    // A handler that ends with the `Close` that the application asked for.
    let server = Server::start(Script::accept().echo());
    let dies = event::call(|_: event::Close| panic!("as the test wants it"));
    let builder = Connection::builder(server.url()).on_close_to(dies).end_when_unheard(true);
    let connection = builder.start().unwrap();
    let outcome = connection.send(command::Close::normal()).await.unwrap();
    assert_eq!(outcome.kind, OutcomeKind::Closed);
}
