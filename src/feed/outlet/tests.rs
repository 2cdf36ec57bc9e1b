use std::sync::Mutex;
use std::task::Waker;
use std::time::Instant;

use actix::{Actor, Handler, System};

use super::*;
use crate::feed::sequence::Sequence;
use crate::feed::topic::{LineId, ShardId};

/// A handler with room for one event, which keeps the items of updates.
#[derive(Clone, Default)]
struct Items(Arc<Mutex<Vec<u64>>>);

impl Actor for Items {
    type Context = actix::Context<Items>;

    fn started(&mut self, ctx: &mut actix::Context<Items>) {
        ctx.set_mailbox_capacity(1);
    }
}

impl Handler<Update<u64>> for Items {
    type Result = ();

    fn handle(&mut self, update: Update<u64>, _: &mut actix::Context<Items>) {
        self.0.lock().expect("no test panics with it").push(update.item);
    }
}

/// Returns an update of a topic of its own.
fn update(item: u64) -> Update<u64> {
    Update {
        line: LineId::new(ShardId(1), 0),
        epoch: 1,
        topic: format!("t{item}").into(),
        sequence: Sequence::none(),
        snapshot: false,
        skipped: 0,
        received: Instant::now(),
        item,
    }
}

#[test]
fn what_waits_at_the_end_is_in_the_mailbox_in_order_and_stays_there() {
    for overflow in [Overflow::Wait, Overflow::Latest] {
        System::new().block_on(async {
            let items = Items::default();
            let addr = items.clone().start();
            addr.send(update(0)).await.expect("it lives");
            let mut recipients = Recipients { overflow, ..Recipients::default() };
            recipients.add::<Update<u64>>(addr.clone().recipient());
            let mut outlet = Outlet::new(recipients);
            let mut task = Context::from_waker(Waker::noop());
            // The handler has no turn before the end, so that its mailbox is full.
            for item in 1..5 {
                outlet.push_update(update(item), None);
                outlet.poll(&mut task);
            }
            assert!(outlet.len() > 0, "{overflow:?}");
            outlet.push_update(update(5), None);
            outlet.flush();
            assert_eq!(outlet.len(), 0, "{overflow:?}");
            drop(outlet);
            // Behind all of them.
            addr.send(update(6)).await.expect("it lives");
            assert_eq!(*items.0.lock().expect("no test panics with it"), [0, 1, 2, 3, 4, 5, 6]);
        });
    }
}
