//! The actor that builds a book of each symbol.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use actix::WeakAddr;
use actix::prelude::*;
use actix_ws_client::feed::event::{Gap, TopicState, Update};
use actix_ws_client::feed::{Feed, command};

use crate::Depth;

/// The quantity of each level, by side and price.
pub(crate) type Book = BTreeMap<(char, u64), u64>;

/// The books, which `main` sees too: it lives on the same thread.
#[derive(Clone, Default)]
pub(crate) struct Books(pub(crate) Rc<RefCell<State>>);

#[derive(Default)]
pub(crate) struct State {
    /// The books whose state is known.
    pub(crate) books: BTreeMap<String, Book>,
    /// Where a snapshot is asked for.
    pub(crate) feed: Option<WeakAddr<Feed<Depth>>>,
}

impl Actor for Books {
    type Context = Context<Books>;
}

impl Handler<Update<Depth>> for Books {
    type Result = ();
    fn handle(&mut self, update: Update<Depth>, _: &mut Self::Context) {
        let State { books, feed } = &mut *self.0.borrow_mut();
        if update.snapshot {
            books.insert(update.topic.to_string(), Book::new());
        }
        let Some(book) = books.get_mut(update.topic.as_str()) else { return };
        book.extend(update.item.levels.iter().map(|(side, price, n)| ((*side, *price), *n)));
        book.retain(|_, quantity| *quantity > 0);
        if book.values().sum::<u64>() != update.item.checksum {
            println!("{}: not the checksum of the exchange", update.topic);
            books.remove(update.topic.as_str());
            let feed = feed.as_ref().and_then(WeakAddr::upgrade);
            feed.into_iter().for_each(|feed| feed.do_send(command::Resync::new(&update.topic)));
        }
    }
}

impl Handler<Gap> for Books {
    type Result = ();
    fn handle(&mut self, gap: Gap, _: &mut Self::Context) {
        self.0.borrow_mut().books.remove(gap.topic.as_deref().unwrap_or_default());
    }
}

impl Handler<TopicState> for Books {
    type Result = ();
    fn handle(&mut self, _: TopicState, _: &mut Self::Context) {}
}
