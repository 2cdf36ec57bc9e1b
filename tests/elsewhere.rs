//! The runtimes that a connection can run in. WebSocketApp takes a dispatcher for this; here any
//! executor of the thread will do. An arbiter and a bare `LocalSet` are tested in `lifecycle.rs`.

use std::net::TcpListener;
use std::time::Duration;

use actix::{Actor, Addr, Arbiter, Context, Handler, System};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use actix_ws_client::testing::{Probe, Script, Server};
use actix_ws_client::{Connection, OutcomeKind, Phase, Reconnect, command, event};
use futures_util::StreamExt;

/// Awaits a future, and fails the test if it takes too long.
async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(10), future).await.expect("it comes in time")
}

/// Sends a message at every `Open`, and closes at the first echo.
struct Asker;

impl Actor for Asker {
    type Context = Context<Asker>;
}

impl Handler<event::Open> for Asker {
    type Result = ();

    fn handle(&mut self, open: event::Open, _: &mut Self::Context) {
        open.connection.do_send(command::Send::text("who is there?"));
    }
}

/// Runs to the first message and closes from another thread. Returns the message and the outcome.
async fn asked(server: &Server) -> (String, OutcomeKind) {
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    let connection = Connection::builder(server.url())
        .no_reconnect()
        .on_open_to(Asker.start().recipient())
        .on_message_to(event::call(move |message: event::Message| {
            let _ = tell.send(message.payload.as_text().unwrap_or_default().to_owned());
        }))
        .start()
        .unwrap();
    let came = soon(told.recv()).await.unwrap();
    // From a worker thread of the runtime.
    let closed = tokio::spawn(async move { connection.send(command::Close::normal()).await });
    (came, soon(closed).await.unwrap().unwrap().kind)
}

#[test]
fn tokio_main_and_a_local_set_drive_it_with_its_handlers() {
    #[tokio::main(flavor = "multi_thread", worker_threads = 2)]
    async fn program(server: &Server) -> (String, OutcomeKind) {
        assert!(System::try_current().is_none());
        tokio::task::LocalSet::new().run_until(asked(server)).await
    }
    let server = Server::start(Script::accept().echo());
    assert_eq!(program(&server), ("who is there?".to_owned(), OutcomeKind::Closed));
}

#[test]
fn the_current_system_drives_it_with_its_handlers() {
    let server = Server::start(Script::accept().echo());
    // With workers, so that a task can run on another thread.
    let runtime = || tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let came = System::with_tokio_rt(runtime).block_on(asked(&server));
    assert_eq!(came, ("who is there?".to_owned(), OutcomeKind::Closed));
}

#[actix::test]
async fn each_arbiter_drives_its_own() {
    let server = Server::start(Script::accept().echo());
    let arbiters = [Arbiter::new(), Arbiter::new()];
    let mut threads = Vec::new();
    for arbiter in &arbiters {
        let probe = Probe::new();
        let (tell, told) = tokio::sync::oneshot::channel();
        let tell = std::sync::Mutex::new(Some(tell));
        // Called on the thread that creates the socket, the connection's.
        let options = actix_ws_client::SocketOptions::new().with(move |_| {
            if let Some(tell) = tell.lock().unwrap().take() {
                let _ = tell.send(std::thread::current().id());
            }
            Ok(())
        });
        let builder = Connection::builder(server.url()).socket_options(options);
        let connection =
            probe.attach(builder.proxy_from_env(false)).start_in(&arbiter.handle()).unwrap();
        threads.push(soon(told).await.unwrap());
        probe.next::<event::Open>().await;
        connection.send(command::Close::normal()).await.unwrap();
        probe.stopped().await;
    }
    for (arbiter, thread) in arbiters.into_iter().zip(&threads) {
        let (tell, told) = std::sync::mpsc::channel();
        arbiter.spawn_fn(move || tell.send(std::thread::current().id()).unwrap());
        assert_eq!(told.recv_timeout(Duration::from_secs(10)).as_ref(), Ok(thread));
        arbiter.stop();
        arbiter.join().unwrap();
    }
    assert_ne!(threads[0], threads[1]);
}

/// Echoes.
async fn socket(request: HttpRequest, body: web::Payload) -> actix_web::Result<HttpResponse> {
    let (response, mut session, mut messages) = actix_ws::handle(&request, body)?;
    actix_web::rt::spawn(async move {
        while let Some(Ok(message)) = messages.next().await {
            let sent = match message {
                actix_ws::Message::Text(text) => session.text(text).await,
                actix_ws::Message::Ping(payload) => session.pong(&payload).await,
                actix_ws::Message::Close(reason) => return session.close(reason).await,
                _ => Ok(()),
            };
            sent?;
        }
        Ok(())
    });
    Ok(response)
}

/// Sends the word in the path over the connection.
async fn say(word: web::Path<String>, connection: web::Data<Addr<Connection>>) -> HttpResponse {
    match connection.send(command::Send::text(word.into_inner())).await {
        Ok(Ok(_)) => HttpResponse::Accepted().finish(),
        _ => HttpResponse::ServiceUnavailable().finish(),
    }
}

#[actix::test]
async fn a_web_server_of_the_same_process_uses_it_from_its_workers() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let probe = Probe::new();
    let builder = Connection::builder(format!("ws://{addr}/socket"));
    let builder = builder.reconnect(Reconnect::fixed(Duration::from_millis(20)));
    let watch = builder.watch();
    let connection = probe.attach(builder).start().unwrap();

    // The app keeps the connection's address in its data, as a program would; workers are threads.
    let data = web::Data::new(connection.clone());
    let app = move || {
        let app = App::new().app_data(data.clone()).route("/socket", web::get().to(socket));
        app.route("/say/{word}", web::post().to(say))
    };
    let server = HttpServer::new(app).workers(2).disable_signals().listen(listener).unwrap().run();
    let handle = server.handle();
    let served = actix::spawn(server);

    probe.next::<event::Open>().await;
    for word in ["one", "two", "three"] {
        let said = awc::Client::new().post(format!("http://{addr}/say/{word}")).send().await;
        assert_eq!(said.unwrap().status(), 202);
        assert_eq!(probe.next_message().await.payload.as_text(), Some(word));
    }
    // First the connection, then the server.
    let outcome = connection.send(command::Close::normal()).await.unwrap();
    assert_eq!((outcome.kind, watch.phase()), (OutcomeKind::Closed, Phase::Closed));
    let said = awc::Client::new().post(format!("http://{addr}/say/late")).send().await;
    assert_eq!(said.unwrap().status(), 503);
    handle.stop(true).await;
    served.await.unwrap().unwrap();
    assert!(probe.next::<event::Close>().await.clean);
    probe.check().unwrap();
}
