//! The background thread: one for the process, for streams that are to run on no thread of the application's.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};
use std::thread;

use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc;
use tokio::task::{LocalSet, spawn_local};

/// What is to run on the thread: it is called there, within a `LocalSet`, and its future is run to its end.
pub(super) type Job = Box<dyn FnOnce() -> Pin<Box<dyn Future<Output = ()>>> + Send>;

/// The name of the thread.
const NAME: &str = "actix-ws-client";

/// The way to the thread; `None` while there is none. The thread takes it away, under the lock, when it finds no
/// job left.
static THREAD: Mutex<Option<mpsc::UnboundedSender<Job>>> = Mutex::new(None);

fn lock() -> MutexGuard<'static, Option<mpsc::UnboundedSender<Job>>> {
    // Poisoned or not, the state is whole: nothing that could panic half-way runs under the lock.
    THREAD.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs a job on the thread, which is started if there is none.
///
/// The jobs are not bounded: each is one connection, which the application starts.
///
/// # Errors
/// If the system refuses the thread, or its runtime.
pub(super) fn run(job: Job) -> io::Result<()> {
    let mut thread = lock();
    let job = match &*thread {
        Some(sender) => match sender.send(job) {
            Ok(()) => return Ok(()),
            // It has ended by a panic, and left the sender behind.
            Err(mpsc::error::SendError(job)) => job,
        },
        None => job,
    };
    // Here, so that the caller gets the error.
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let (sender, jobs) = mpsc::unbounded_channel();
    thread::Builder::new().name(NAME.into()).spawn(move || serve(&runtime, jobs))?;
    // An error cannot come: the thread has the other end, and ends under this lock.
    let _ = sender.send(job);
    *thread = Some(sender);
    Ok(())
}

/// Runs jobs until none is left.
fn serve(runtime: &Runtime, mut jobs: mpsc::UnboundedReceiver<Job>) {
    let local = LocalSet::new();
    local.block_on(runtime, async {
        let running = Rc::new(Running::default());
        loop {
            let job = poll_fn(|cx| match jobs.poll_recv(cx) {
                Poll::Pending if running.is_none(cx.waker()) => Poll::Ready(None),
                other => other,
            });
            match job.await {
                Some(job) => running.start(job),
                None => {
                    let mut thread = lock();
                    match jobs.try_recv() {
                        // It came in this moment.
                        Ok(job) => running.start(job),
                        Err(_) => {
                            *thread = None;
                            return;
                        }
                    }
                }
            }
        }
    });
}

/// The jobs that run.
#[derive(Default)]
struct Running {
    count: Cell<usize>,
    /// Woken by the end of the last one.
    waker: Cell<Option<Waker>>,
}

impl Running {
    /// Whether no job runs. If one does, the end of the last one wakes `waker`.
    fn is_none(&self, waker: &Waker) -> bool {
        self.waker.set(Some(waker.clone()));
        self.count.get() == 0
    }

    fn start(self: &Rc<Self>, job: Job) {
        self.count.set(self.count.get() + 1);
        let ended = Ended(self.clone());
        spawn_local(async move {
            let _ended = ended;
            job().await;
        });
    }
}

/// Counts the end of a job when it is dropped, after a panic too.
struct Ended(Rc<Running>);

impl Drop for Ended {
    fn drop(&mut self) {
        let left = self.0.count.get() - 1;
        self.0.count.set(left);
        if left == 0
            && let Some(waker) = self.0.waker.take()
        {
            waker.wake();
        }
    }
}
