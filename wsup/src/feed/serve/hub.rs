//! The board and the open pages, which the threads of the printer, of the run and of the server share.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use actix::WeakAddr;
use actix_web::web::Bytes;
use actix_ws_client::Payload;
use actix_ws_client::feed::command::{FeedStatus, Status};
use actix_ws_client::feed::event::{Gap, LineState, Rotated, TopicState, Update};
use actix_ws_client::feed::{Feed, Topic};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::feed::observer::Observer;
use crate::feed::publishing::{Publishing, WatchPublishing};
use crate::feed::serve::board::Board;
use crate::feed::serve::frame::{self, Beat, TICK};
use crate::feed::serve::samples::SAMPLE;

/// What is known of a feed, and who watches it.
pub(crate) struct Hub(Mutex<State>);

struct State {
    board: Board,
    /// The feed, once it is started.
    feed: Option<WeakAddr<Feed<Payload>>>,
    /// What looks at the publication.
    publication: Option<Arc<dyn WatchPublishing>>,
    /// What the feed last answered.
    status: Option<FeedStatus>,
    pages: Vec<Page>,
    /// The number of frames so far.
    ticks: usize,
}

/// An open page.
struct Page {
    frames: mpsc::Sender<Bytes>,
    /// That of the board when it got everything, and every frame since. `None` if it was too slow for one: it gets
    /// everything again, once it has read what waits for it.
    generation: Option<u64>,
}

/// The number of frames that wait for a page. Further ones are dropped.
const MAX_FRAMES: usize = 4;

/// The number of pages. Further ones are refused.
pub(crate) const MAX_PAGES: usize = 32;

/// How long the feed may take to answer before the pages get a frame without its answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

impl Hub {
    pub(crate) fn new(board: Board) -> Hub {
        let (feed, publication, status, pages) = (None, None, None, Vec::new());
        Hub(Mutex::new(State { board, feed, publication, status, pages, ticks: 0 }))
    }

    /// Notes what the start of the feed waits for.
    pub(crate) fn wait_for(&self, what: Option<&'static str>) {
        self.lock().board.waits_for = what;
    }

    /// Watches a feed that was started, and its publication.
    pub(crate) fn watch(
        &self,
        feed: WeakAddr<Feed<Payload>>,
        publication: Option<Arc<dyn WatchPublishing>>,
    ) {
        let mut state = self.lock();
        (state.feed, state.publication) = (Some(feed), publication);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Calls a closure with the board.
    pub(crate) fn with<T>(&self, call: impl FnOnce(&Board) -> T) -> T {
        call(&self.lock().board)
    }

    /// Calls a closure with the name of the feed, what it last answered, and what looks at its publication.
    pub(crate) fn with_status<T>(
        &self,
        call: impl FnOnce(&str, Option<&FeedStatus>, Option<&dyn WatchPublishing>) -> T,
    ) -> T {
        let state = self.lock();
        call(&state.board.name, state.status.as_ref(), state.publication.as_deref())
    }

    /// Opens a page. Returns its frames, or `None` if there are too many pages.
    pub(crate) fn open(&self, now: Instant) -> Option<mpsc::Receiver<Bytes>> {
        let mut state = self.lock();
        state.pages.retain(|page| !page.frames.is_closed());
        if state.pages.len() >= MAX_PAGES {
            return None;
        }
        let (frames, receiver) = mpsc::channel(MAX_FRAMES);
        let is_sent = frames.try_send(frame::whole(&state.board, now)).is_ok();
        let generation = is_sent.then_some(state.board.generation);
        state.pages.push(Page { frames, generation });
        Some(receiver)
    }

    /// Takes the feed's answer and how its publication goes, and sends a frame to each page.
    fn tick(&self, status: Option<FeedStatus>, publishing: Option<Publishing>, now: Instant) {
        let mut state = self.lock();
        if let Some(publishing) = publishing {
            state.board.handle_publishing(publishing, now);
        }
        if let Some(status) = status {
            state.board.handle_status(&status, now);
            state.status = Some(status);
        }
        state.tick(now);
    }

    /// Asks the feed for its state once there is one, and sends frames to the pages, until the run ends.
    pub(crate) async fn run(self: Arc<Hub>) {
        let mut timer = interval(TICK);
        timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            timer.tick().await;
            let (feed, publication) = {
                let state = self.lock();
                (state.feed.as_ref().and_then(WeakAddr::upgrade), state.publication.clone())
            };
            let status = match feed {
                Some(feed) => timeout(ANSWER_WITHIN, feed.send(Status)).await.ok(),
                None => None,
            };
            // A feed that has ended answers with an error.
            let publishing = publication.map(|publication| publication.publishing());
            self.tick(status.and_then(Result::ok), publishing, Instant::now());
        }
    }
}

impl State {
    fn tick(&mut self, now: Instant) {
        let ticks = self.ticks;
        self.ticks += 1;
        let each = |span: Duration| (span.as_millis() / TICK.as_millis()) as usize;
        let beat = Beat {
            figures: ticks.is_multiple_of(FIGURES_EACH),
            sampled: ticks.is_multiple_of(each(SAMPLE)),
            turn: ticks / FIGURES_EACH,
        };
        if beat.sampled {
            self.board.sample();
        }
        self.pages.retain(|page| !page.frames.is_closed());
        if self.pages.is_empty() {
            self.board.settle();
            return;
        }
        let changes = frame::changes(&mut self.board, beat, now);
        let (mut whole, newest) = (None, self.board.generation);
        for page in &mut self.pages {
            let frame = match page.generation {
                Some(generation) if generation == newest => changes.clone(),
                _ if page.frames.capacity() < MAX_FRAMES => None,
                _ => Some(whole.get_or_insert_with(|| frame::whole(&self.board, now)).clone()),
            };
            if let Some(frame) = frame {
                page.generation = page.frames.try_send(frame).is_ok().then_some(newest);
            }
        }
    }
}

/// Every how many frames one has figures: each second.
const FIGURES_EACH: usize = 2;

/// Notes the events of a feed.
pub(crate) struct Watcher(pub(crate) Arc<Hub>);

impl Observer for Watcher {
    fn updates(&mut self, updates: &[Update<Payload>]) {
        self.0.lock().board.handle_updates(updates, Instant::now());
    }

    fn gap(&mut self, gap: &Gap) {
        self.0.lock().board.handle_gap(gap, Instant::now());
    }

    fn topic(&mut self, state: &TopicState) {
        self.0.lock().board.handle_topic(state, Instant::now());
    }

    fn line(&mut self, state: &LineState) {
        self.0.lock().board.handle_line(state, Instant::now());
    }

    fn rotated(&mut self, rotated: &Rotated) {
        self.0.lock().board.handle_rotated(rotated, Instant::now());
    }

    fn added(&mut self, topics: &[Topic]) {
        self.0.lock().board.add(topics);
    }

    fn removed(&mut self, topics: &[Topic]) {
        self.0.lock().board.remove(topics);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::feed::serve::lines::Stage;
    use crate::feed::serve::tests::{board, report};

    fn hub() -> Hub {
        Hub::new(board(vec![report(1, 0, Stage::Active)], Instant::now()))
    }

    fn kinds(frames: &mut mpsc::Receiver<Bytes>) -> Vec<String> {
        let mut kinds = Vec::new();
        while let Ok(frame) = frames.try_recv() {
            let text = String::from_utf8(frame.to_vec()).unwrap();
            kinds.push(text.lines().next().unwrap().replace("event: ", ""));
        }
        kinds
    }

    #[test]
    fn a_slow_page_loses_frames_and_gets_everything_later() {
        let hub = hub();
        let (mut quick, mut slow) =
            (hub.open(Instant::now()).unwrap(), hub.open(Instant::now()).unwrap());
        assert_eq!(kinds(&mut quick), ["whole"]);
        for _ in 0..20 {
            hub.tick(None, None, Instant::now());
            kinds(&mut quick).iter().for_each(|kind| assert_eq!(kind, "changes"));
        }
        assert_eq!(slow.len(), MAX_FRAMES);
        slow.try_recv().unwrap();
        // Not before it has read all.
        hub.tick(None, None, Instant::now());
        assert_eq!(kinds(&mut slow), ["changes"; 3]);
        hub.tick(None, None, Instant::now());
        assert_eq!(kinds(&mut slow), ["whole"]);
    }

    #[test]
    fn pages_are_bounded_and_closed_ones_make_room() {
        let hub = hub();
        let mut pages: Vec<_> = (0..MAX_PAGES).filter_map(|_| hub.open(Instant::now())).collect();
        assert_eq!(pages.len(), MAX_PAGES);
        assert!(hub.open(Instant::now()).is_none());
        pages.pop();
        assert!(hub.open(Instant::now()).is_some());
    }

    #[test]
    fn other_topics_are_sent_to_all_pages() {
        let hub = hub();
        let mut page = hub.open(Instant::now()).unwrap();
        hub.tick(None, None, Instant::now());
        kinds(&mut page);
        Watcher(Arc::new(hub)).check_added(&mut page);
    }

    impl Watcher {
        fn check_added(mut self, page: &mut mpsc::Receiver<Bytes>) {
            self.added(&["new".into()]);
            self.0.tick(None, None, Instant::now());
            assert_eq!(kinds(page), ["whole"]);
        }
    }
}
