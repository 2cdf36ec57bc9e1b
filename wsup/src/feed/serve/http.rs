//! The server: its routes, and what all answers have in common.

use std::collections::HashMap;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::Addr;
use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY};
use actix_web::http::{KeepAlive, Method};
use actix_web::middleware::{DefaultHeaders, Next, from_fn};
use actix_web::web::{self, Bytes, Data, Query};
use actix_web::{App, Error, FromRequest, Handler, HttpResponse, HttpServer, Resource, Responder};
use actix_ws_client::feed::{Feed, Topic};
use actix_ws_client::{Budget, Payload};

use crate::feed::observer::Observer;
use crate::feed::publishing::WatchPublishing;
use crate::feed::serve::board::Board;
use crate::feed::serve::events::Frames;
use crate::feed::serve::flags::Prepared;
use crate::feed::serve::hub::{Hub, MAX_PAGES, Watcher};
use crate::feed::serve::token::Token;
use crate::feed::serve::{guard, health, metrics, status};
use crate::screen::eprint_line;
use crate::secrets::Secrets;
use crate::usage::Usage;
use crate::value::Time;

/// A server that answers, and what it knows.
pub(crate) struct Serving(Arc<Hub>);

/// A server that listens, and answers once it is started.
pub(crate) struct Server {
    hub: Arc<Hub>,
    listener: TcpListener,
    token: Option<Token>,
    budget: Option<Budget>,
}

/// The connections at once. Further ones wait.
const MAX_CONNECTIONS: usize = 128;

/// How long a request may take to come.
const REQUEST_WITHIN: Duration = Duration::from_secs(5);

/// The page.
const PAGE: &str = include_str!("page.html");

impl Server {
    /// Listens.
    ///
    /// # Errors
    /// An address that cannot be listened on.
    pub(crate) fn listen(
        prepared: Prepared,
        name: String,
        secrets: &Secrets,
        topics: &[String],
        budget: Option<Budget>,
    ) -> Result<Server, Usage> {
        let listener = prepared.listen()?;
        let mut board = Board::new(name, secrets.clone(), Instant::now());
        board.add(&topics.iter().map(Topic::from).collect::<Vec<_>>());
        let Prepared { token, .. } = prepared;
        Ok(Server { hub: Arc::new(Hub::new(board)), listener, token, budget })
    }

    /// Serves the state of a feed that is not started yet, until the process ends. It waits for this first.
    ///
    /// # Errors
    /// If the system refuses it.
    pub(crate) fn start(self, waits_for: Option<&'static str>) -> std::io::Result<Serving> {
        let Server { hub, listener, token, budget } = self;
        hub.wait_for(waits_for);
        let serving = Serving(hub.clone());
        let address = listener.local_addr()?;
        actix::spawn(hub.clone().run());
        let (hub, token, budget) = (Data::from(hub), Data::new(token), Data::new(budget));
        let app = move || {
            App::new()
                .app_data(hub.clone())
                .app_data(token.clone())
                .app_data(budget.clone())
                .wrap(from_fn(checked))
                .wrap(headers())
                .service(read("/", page))
                .service(read("/health", health))
                .service(read("/status", status))
                .service(read("/metrics", figures))
                .service(read("/events", events))
        };
        // One thread is enough for what is small and seldom asked for. A connection has one request: only the first of a
        // connection has a time in which it has to come.
        let server = HttpServer::new(app)
            .workers(1)
            .keep_alive(KeepAlive::Disabled)
            .max_connections(MAX_CONNECTIONS)
            .client_request_timeout(REQUEST_WITHIN)
            .shutdown_timeout(0)
            .disable_signals()
            .listen(listener)?;
        actix::spawn(server.run());
        eprint_line(&format!("wsup feed: serves http://{address}/"));
        Ok(serving)
    }
}

impl Serving {
    /// Returns what notes the events of the feed.
    pub(crate) fn observer(&self) -> Box<dyn Observer> {
        Box::new(Watcher(self.0.clone()))
    }

    /// Shows a feed that was started, and its publication.
    pub(crate) fn watch(
        &self,
        feed: &Addr<Feed<Payload>>,
        publication: Option<Arc<dyn WatchPublishing>>,
    ) {
        self.0.watch(feed.downgrade(), publication);
    }
}

/// A path that can be read.
fn read<F, Args>(path: &str, handler: F) -> Resource
where
    F: Handler<Args>,
    Args: FromRequest + 'static,
    F::Output: Responder + 'static,
{
    web::resource(path).route(web::get().to(handler.clone())).route(web::head().to(handler))
}

/// The header lines of every answer: nothing is stored, guessed, framed, or sent elsewhere.
fn headers() -> DefaultHeaders {
    DefaultHeaders::new()
        .add((CACHE_CONTROL, "no-store"))
        .add((CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"))
        .add(("X-Content-Type-Options", "nosniff"))
        .add(("Referrer-Policy", "no-referrer"))
        .add(("Cross-Origin-Resource-Policy", "same-origin"))
}

/// Answers a request if it may be answered.
async fn checked(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let token = request.app_data::<Data<Option<Token>>>();
    let token = token.and_then(|token| token.as_ref().as_ref());
    match guard::refusal(request.path(), request.headers(), token) {
        None => Ok(next.call(request).await?.map_into_boxed_body()),
        Some(refusal) => Ok(request.into_response(refusal)),
    }
}

/// Serves the page. Only its own style and script may run, which have this answer's number.
async fn page() -> HttpResponse {
    let nonce = format!("{:032x}", rand::random::<u128>());
    let policy = format!(
        "default-src 'none'; style-src 'nonce-{nonce}'; script-src 'nonce-{nonce}'; connect-src 'self'; \
         img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    );
    HttpResponse::Ok()
        .insert_header((CONTENT_SECURITY_POLICY, policy))
        .content_type("text/html; charset=utf-8")
        .body(PAGE.replace("{nonce}", &nonce))
}

/// Answers 200 if the feed is healthy, and else 503 and why.
async fn health(hub: Data<Hub>, query: Query<HashMap<String, String>>) -> HttpResponse {
    let max_age = query.get("max_age").map(|text| text.parse::<Time>()).transpose();
    let max_age = match max_age {
        Ok(max_age) => max_age.map(|Time(time)| time),
        Err(why) => return HttpResponse::BadRequest().body(format!("max_age: {why}\n")),
    };
    let problems = hub.with(|board| health::problems(board, max_age, Instant::now()));
    let mut response = match problems.is_empty() {
        true => HttpResponse::Ok(),
        false => HttpResponse::ServiceUnavailable(),
    };
    response.content_type("text/plain; charset=utf-8");
    match problems.is_empty() {
        true => response.body("healthy\n"),
        false => {
            response.body(problems.iter().map(|problem| format!("{problem}\n")).collect::<String>())
        }
    }
}

async fn status(hub: Data<Hub>) -> HttpResponse {
    let status = hub.with(|board| status::status(board, Instant::now()));
    HttpResponse::Ok().content_type("application/json").body(format!("{status}\n"))
}

async fn figures(hub: Data<Hub>, budget: Data<Option<Budget>>) -> HttpResponse {
    let budget = budget.as_ref().as_ref();
    let text = hub
        .with_status(|name, status, publication| metrics::text(name, status, budget, publication));
    HttpResponse::Ok().content_type(metrics::TEXT_FORMAT).body(text)
}

/// Serves the frames of a page.
async fn events(method: Method, hub: Data<Hub>) -> HttpResponse {
    let mut response = HttpResponse::Ok();
    response.content_type("text/event-stream");
    if method == Method::HEAD {
        // An answer without a body would not end.
        return response.finish();
    }
    match hub.open(Instant::now()) {
        Some(frames) => response.body(Frames(frames).boxed()),
        None => HttpResponse::ServiceUnavailable()
            .content_type("text/plain; charset=utf-8")
            .body(Bytes::from(format!("{MAX_PAGES} pages are open, and no more can be\n"))),
    }
}
