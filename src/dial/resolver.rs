//! Looks names up on threads of our own, because the system's resolver blocks, for as long as it likes.
//!
//! Not on tokio's blocking pool: it belongs to the application, and a name server that does not answer would fill it.
//! `lookups.rs` decides which look-up runs when. A thread begins with a look-up that no idle one can run, and ends after
//! [`IDLE`] without one. None is waited for, so that a resolver that hangs delays neither a close nor the end of the
//! program.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Condvar, LazyLock, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use dns_lookup::{AddrFamily, AddrInfoHints, LookupErrorKind, SockType, getaddrinfo};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::dial::hosts;
use crate::dial::lookups::{Family, HUNG_AFTER, Lookup, Lookups};

/// How long a thread waits for another look-up before it ends.
const IDLE: Duration = Duration::from_secs(10);

/// What a look-up has found: addresses with port 0, at least one. The error has the kind `NotFound` if the name has no
/// address of the family.
pub(super) type Answer = Result<Arc<[SocketAddr]>, Arc<io::Error>>;

/// A function that looks one name up. It may block.
type LookUp = dyn Fn(&Lookup) -> io::Result<Vec<SocketAddr>> + Send + Sync;

/// A function that runs its argument on a new thread.
type Spawn = fn(Box<dyn FnOnce() + Send>) -> io::Result<()>;

/// The resolver of the process.
pub(super) static SYSTEM: LazyLock<Resolver> = LazyLock::new(|| Resolver::new(look_up, spawn));

/// Runs look-ups on its threads. Clones share them.
#[derive(Clone)]
pub(super) struct Resolver {
    shared: Arc<Shared>,
}

struct Shared {
    look_up: Box<LookUp>,
    spawn: Spawn,
    state: Mutex<State>,
    /// Notified when an idle thread gets a look-up.
    assigned: Condvar,
}

#[derive(Default)]
struct State {
    lookups: Lookups,
    /// Where the callers of a look-up that runs or waits read its answer.
    answers: HashMap<Lookup, watch::Sender<Option<Answer>>>,
    /// Look-ups that started and wait for the idle thread that was woken for them.
    assigned: VecDeque<Lookup>,
    /// The threads without a look-up.
    idle: usize,
}

/// A caller of a look-up. Leaves it when dropped.
struct Caller<'a> {
    shared: &'a Shared,
    lookup: Lookup,
    answer: watch::Receiver<Option<Answer>>,
}

impl Resolver {
    /// Creates a resolver that looks names up with this function, on threads that it spawns with the other.
    pub(super) fn new(
        look_up: impl Fn(&Lookup) -> io::Result<Vec<SocketAddr>> + Send + Sync + 'static,
        spawn: Spawn,
    ) -> Resolver {
        let (look_up, state, assigned) = (Box::new(look_up), Mutex::default(), Condvar::new());
        Resolver { shared: Arc::new(Shared { look_up, spawn, state, assigned }) }
    }

    /// Looks a name up, or joins the look-up of it that runs or waits already.
    ///
    /// # Errors
    /// That of the look-up; or that too many wait, or that the system has no thread for it.
    pub(super) async fn look_up(&self, lookup: Lookup) -> Answer {
        let mut caller = Caller::join(&self.shared, lookup)?;
        loop {
            Shared::start(&self.shared, self.shared.lock());
            // Time alone can allow more look-ups to start: one that hangs is known by its age.
            let answered = timeout(HUNG_AFTER, caller.answer.wait_for(Option::is_some)).await;
            match answered.map(|answer| answer.ok().and_then(|answer| answer.clone())) {
                Ok(Some(answer)) => return answer,
                Ok(None) => return Err(Arc::new(io::Error::other("the look-up was abandoned"))),
                Err(_) => {}
            }
        }
    }
}

impl<'a> Caller<'a> {
    fn join(shared: &'a Shared, lookup: Lookup) -> Result<Self, Arc<io::Error>> {
        let mut state = shared.lock();
        if !state.lookups.join(&lookup) {
            return Err(Arc::new(io::Error::other("too many names wait to be looked up")));
        }
        let sender = state.answers.entry(lookup.clone()).or_default();
        let answer = sender.subscribe();
        drop(state);
        Ok(Caller { shared, lookup, answer })
    }
}

impl Drop for Caller<'_> {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        // With its answer, the look-up has lost its callers.
        if self.answer.borrow().is_none() {
            state.lookups.leave(&self.lookup);
            if !state.lookups.is_known(&self.lookup) {
                state.answers.remove(&self.lookup);
            }
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts what may start, each on an idle thread or a new one.
    fn start(self: &Arc<Self>, mut state: MutexGuard<'_, State>) {
        while let Some(lookup) = state.lookups.start(Instant::now()) {
            if state.idle > 0 {
                state.idle -= 1;
                state.assigned.push_back(lookup);
                self.assigned.notify_one();
                continue;
            }
            let (shared, first) = (Arc::clone(self), lookup.clone());
            if let Err(err) = (self.spawn)(Box::new(move || shared.serve(first))) {
                let err = io::Error::new(err.kind(), format!("no thread for the look-up: {err}"));
                state.lookups.cancel(&lookup);
                state.publish(&lookup, Err(Arc::new(err)));
            }
        }
    }

    /// The life of a thread: runs this look-up, and those that it gets afterwards.
    fn serve(self: Arc<Self>, mut lookup: Lookup) {
        loop {
            let found = (self.look_up)(&lookup).and_then(|found| match found.is_empty() {
                true => Err(no_address()),
                false => Ok(found.into()),
            });
            let mut state = self.lock();
            state.lookups.finish(&lookup, Instant::now());
            state.publish(&lookup, found.map_err(Arc::new));
            state.idle += 1;
            self.start(state);
            let waited = self
                .assigned
                .wait_timeout_while(self.lock(), IDLE, |state| state.assigned.is_empty());
            let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
            match state.assigned.pop_front() {
                Some(next) => lookup = next,
                None => {
                    state.idle -= 1;
                    return;
                }
            }
        }
    }
}

impl State {
    /// Gives the callers of a look-up its answer.
    fn publish(&mut self, lookup: &Lookup, answer: Answer) {
        if let Some(sender) = self.answers.remove(lookup) {
            sender.send_replace(Some(answer));
        }
    }
}

/// Spawns a thread. Not with `thread::spawn`, which panics where the system gives none.
pub(super) fn spawn(life: Box<dyn FnOnce() + Send>) -> io::Result<()> {
    thread::Builder::new().name("actix-ws-dns".to_owned()).spawn(life).map(drop)
}

/// Looks a name up with the system's resolver, which knows the hosts file, search domains, and a `resolv.conf` that has
/// changed.
fn look_up(lookup: &Lookup) -> io::Result<Vec<SocketAddr>> {
    if hosts::has_other_family_only(&lookup.name, lookup.family) {
        return Err(no_address());
    }
    let family = match lookup.family {
        Family::V4 => AddrFamily::Inet,
        Family::V6 => AddrFamily::Inet6,
    };
    ask_system(&lookup.name, family, 0)
}

/// Reads an IPv6 address with a zone, `fe80::1%eth0`. The system knows the number of the zone by the name of the
/// interface; nothing is looked up.
pub(super) fn parse_zoned(text: &str) -> io::Result<Vec<SocketAddr>> {
    /// `AI_NUMERICHOST`, the same on Linux, macOS, the BSDs and Windows.
    const NUMERIC_HOST: i32 = 4;
    ask_system(text, AddrFamily::Inet6, NUMERIC_HOST)
}

fn ask_system(name: &str, family: AddrFamily, flags: i32) -> io::Result<Vec<SocketAddr>> {
    let socktype = SockType::Stream.into();
    let hints = AddrInfoHints { flags, address: family.into(), socktype, protocol: 0 };
    let found = getaddrinfo(Some(name), None, Some(hints)).map_err(|err| match err.kind() {
        LookupErrorKind::NoName | LookupErrorKind::NoData => {
            io::Error::new(io::ErrorKind::NotFound, err)
        }
        _ => err.into(),
    })?;
    found.map(|info| Ok(info?.sockaddr)).collect()
}

fn no_address() -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, "the name has no address")
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::task::{Context, Poll, Waker};

    use super::*;
    use crate::dial::lookups::THREADS;

    fn of(name: impl ToString) -> Lookup {
        Lookup { name: name.to_string().into(), family: Family::V4 }
    }

    fn addr() -> SocketAddr {
        SocketAddr::from(([192, 0, 2, 1], 0))
    }

    /// A resolver for which names that begin with `hang` hang until the sender is dropped, and the names that it was
    /// asked for.
    fn hanging() -> (Resolver, mpsc::Sender<()>, mpsc::Receiver<String>) {
        let (release, hang) = mpsc::channel::<()>();
        let (asked, names) = mpsc::channel();
        let hang = Mutex::new(hang);
        let look_up = move |lookup: &Lookup| {
            let _ = asked.send(lookup.name.to_string());
            if lookup.name.starts_with("hang") {
                // The first waits for the sender, the others for the lock.
                let _ = hang.lock().unwrap().recv();
            }
            Ok(vec![addr()])
        };
        (Resolver::new(look_up, spawn), release, names)
    }

    fn poll<T>(future: std::pin::Pin<&mut impl Future<Output = T>>) -> Poll<T> {
        future.poll(&mut Context::from_waker(Waker::noop()))
    }

    #[tokio::test]
    async fn callers_of_one_name_share_one_look_up() {
        let (resolver, release, names) = hanging();
        let mut first = Box::pin(resolver.look_up(of("hang")));
        let mut second = Box::pin(resolver.look_up(of("hang")));
        assert!(poll(first.as_mut()).is_pending() && poll(second.as_mut()).is_pending());
        drop(release);
        assert_eq!(first.await.unwrap()[..], [addr()]);
        assert_eq!(second.await.unwrap()[..], [addr()]);
        assert_eq!(names.try_iter().collect::<Vec<_>>(), ["hang"]);
    }

    #[tokio::test]
    async fn a_name_is_answered_while_seven_hundred_others_hang() {
        let (resolver, release, names) = hanging();
        let hang = |number| Box::pin(resolver.look_up(of(format!("hang{number}"))));
        let mut all: Vec<_> = (0..700).map(hang).collect();
        assert!(all.iter_mut().all(|one| poll(one.as_mut()).is_pending()));
        let begin = Instant::now();
        assert!(resolver.look_up(of("good")).await.is_ok());
        assert!(begin.elapsed() < HUNG_AFTER * 2, "{:?}", begin.elapsed());
        // Its second look-up waits for nothing, and neither does the runtime's own pool.
        assert!(resolver.look_up(of("good")).await.is_ok());
        assert!(tokio::task::spawn_blocking(|| true).await.unwrap());
        assert!(names.try_iter().count() <= THREADS);
        // What waits is dropped with its last caller.
        drop(all);
        let state = resolver.shared.lock();
        assert!(state.answers.len() <= THREADS, "{}", state.answers.len());
        drop((state, release));
    }

    #[tokio::test]
    async fn a_caller_that_gave_up_leaves_the_others() {
        let (resolver, release, _names) = hanging();
        let mut first = Box::pin(resolver.look_up(of("hang")));
        let mut second = Box::pin(resolver.look_up(of("hang")));
        assert!(poll(first.as_mut()).is_pending() && poll(second.as_mut()).is_pending());
        drop(first);
        drop(release);
        assert!(second.await.is_ok());
        assert!(resolver.shared.lock().answers.is_empty());
    }

    #[tokio::test]
    async fn a_name_without_addresses_is_not_found() {
        let resolver = Resolver::new(|_| Ok(Vec::new()), spawn);
        let err = resolver.look_up(of("a")).await.unwrap_err();
        assert_eq!(err.kind(), io::ErrorKind::NotFound);
    }

    #[tokio::test]
    async fn without_a_thread_a_look_up_fails() {
        let no_thread: Spawn = |_| Err(io::ErrorKind::WouldBlock.into());
        let resolver = Resolver::new(|_| Ok(vec![addr()]), no_thread);
        for _ in 0..2 {
            let err = resolver.look_up(of("a")).await.unwrap_err();
            assert!(err.to_string().starts_with("no thread for the look-up: "), "{err}");
        }
    }

    #[tokio::test]
    async fn threads_serve_one_look_up_after_the_other() {
        let (asked, threads) = mpsc::channel();
        let look_up = move |_: &Lookup| {
            asked.send(thread::current().id()).unwrap();
            Ok(vec![addr()])
        };
        let resolver = Resolver::new(look_up, spawn);
        for name in 0..100 {
            resolver.look_up(of(name)).await.unwrap();
        }
        let mut seen: Vec<_> = threads.try_iter().collect();
        seen.sort_by_key(|id| format!("{id:?}"));
        seen.dedup();
        // The answer is there before its thread is idle, so that there may be two.
        assert!(seen.len() <= 2, "{seen:?}");
    }

    #[test]
    fn a_zone_is_a_number_or_the_name_of_an_interface() {
        let zoned = parse_zoned("fe80::1%7").unwrap();
        let SocketAddr::V6(addr) = zoned[0] else { panic!("{zoned:?}") };
        assert_eq!((addr.ip().to_string().as_str(), addr.scope_id()), ("fe80::1", 7));
        #[cfg(target_os = "linux")]
        assert!(
            matches!(parse_zoned("fe80::1%lo").unwrap()[0], SocketAddr::V6(addr) if addr.scope_id() > 0)
        );
        assert!(parse_zoned("fe80::1%no-such-if").is_err());
    }
}
