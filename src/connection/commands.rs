//! The table of commands: how each comes out of the mailbox, and through the queue of the handles.

use std::any::Any;
use std::task::Waker;

use actix::dev::MessageResponse;
use actix::{Context, Handler, Message};

use crate::command::status::{Outcome, Status, Watch};
use crate::command::{
    self, Accepted, Closed, Command, CommandQueue, Enqueue, GiveBack, QueuedCommand, SendError,
    SentFrames, Unanswered, Unsent,
};
use crate::connection::actor::{AnyCommand, Connection, Item};
use crate::connection::handle_queue::{Refuse, Shared};
use crate::delivery::Registered;
use crate::pinger::{Listener, Signal};

/// What a connection does with a command.
///
/// What was sent through handles before the command is executed already.
#[expect(unnameable_types, reason = "a `Handler`'s result is its answer, and is public")]
pub trait Execute<C: Message> {
    /// The command's result, or a response that sends it later.
    type Answer: MessageResponse<Connection, C>;

    /// Executes the command.
    fn execute(&mut self, command: C) -> Self::Answer;
}

/// One row for each command: its name; the answer and the error of a handle; how they are made of its
/// `Message::Result`; the function that pushes it into the queue of the handles; and the one that answers it
/// if the actor has ended.
///
/// `command_table!(expand)` expands to `expand! { rows }`. A row with `<E>` stands for the commands for
/// all kinds of event.
macro_rules! command_table {
    ($expand:ident) => {
        $expand! {
            Send           (Accepted, SendError) nested push_send  give_back,
            SendBatch      (Accepted, Unsent)    nested push_boxed give_back,
            Ping           (Accepted, SendError) nested push_boxed give_back,
            Pong           (Accepted, SendError) nested push_boxed give_back,
            Close          (Outcome, Closed)     plain  push_boxed no_answer,
            Reconnect      ((), Closed)          nested push_boxed no_answer,
            Pause          ((), Closed)          nested push_boxed no_answer,
            Resume         ((), Closed)          nested push_boxed no_answer,
            Fail           (bool, Closed)        plain  push_boxed no_answer,
            Settled        (bool, Closed)        plain  push_boxed no_answer,
            Hold           ((), Closed)          plain  push_boxed no_answer,
            Ledger         (SentFrames, Closed)  plain  push_boxed no_answer,
            Status         (Status, Closed)      plain  push_boxed no_answer,
            Watch          (Watch, Closed)       plain  push_boxed no_answer,
            Subscribe<E>   ((), Closed)          nested push_boxed no_answer,
            Unsubscribe<E> (bool, Closed)        plain  push_boxed no_answer,
        }
    };
}

/// Expands to an `impl Handler` for each command, which executes what was sent through handles first,
/// and to the `impl Command` and `impl Enqueue` that let a `Handle` send the command.
macro_rules! implement {
    ($($Command:ident $(<$E:ident>)? ($Output:ty, $Error:ty) $shape:ident $push:ident $refuse:ident,)+) => {$(
        impl $(<$E: Registered>)? Handler<command::$Command $(<$E>)?> for Connection {
            type Result = <Connection as Execute<command::$Command $(<$E>)?>>::Answer;

            fn handle(
                &mut self,
                command: command::$Command $(<$E>)?,
                ctx: &mut Context<Connection>,
            ) -> Self::Result {
                self.catch_up(ctx);
                self.execute(command)
            }
        }

        impl $(<$E: Registered>)? Command for command::$Command $(<$E>)? {
            type Output = $Output;
            type Error = $Error;

            #[inline]
            fn answered(answer: Option<Self::Result>) -> Result<$Output, $Error> {
                $shape(answer)
            }
        }

        impl $(<$E: Registered>)? Enqueue for command::$Command $(<$E>)? {
            #[inline]
            fn enqueue(queued: QueuedCommand<Self>, queue: &dyn CommandQueue) -> bool {
                $push(queued, queue)
            }

            fn refuse(self) -> Option<Self::Result> {
                $refuse(self)
            }
        }
    )+};
}

command_table!(implement);

/// Queues a message.
#[inline]
fn push_send(queued: QueuedCommand<command::Send>, queue: &dyn CommandQueue) -> bool {
    queue.send(queued)
}

/// Queues any other command.
fn push_boxed<C: Command>(queued: QueuedCommand<C>, queue: &dyn CommandQueue) -> bool
where
    Connection: Handler<C>,
{
    // Always `Some`: only a connection makes handles.
    let queue = (queue as &dyn Any).downcast_ref::<Shared<Item>>();
    queue.is_some_and(|queue| queue.accept(Item::Command(Box::new(queued))))
}

/// Answers with the command's messages.
fn give_back<C: GiveBack>(command: C) -> Option<C::Result> {
    command.give_back()
}

/// Returns an answer that is a result itself, or the error for none.
#[inline]
fn nested<T, E: Unanswered>(answer: Option<Result<T, E>>) -> Result<T, E> {
    answer.unwrap_or_else(|| Err(E::unanswered()))
}

/// Returns an answer that is no result itself, or the error for none.
fn plain<T, E: Unanswered>(answer: Option<T>) -> Result<T, E> {
    answer.ok_or_else(E::unanswered)
}

/// Does not answer: the caller gets `Closed`.
fn no_answer<C: Message>(_: C) -> Option<C::Result> {
    None
}

impl<C: Command> AnyCommand for QueuedCommand<C>
where
    Connection: Handler<C>,
{
    fn execute(self: Box<Self>, connection: &mut Connection, ctx: &mut Context<Connection>) {
        let QueuedCommand { command, sender } = *self;
        if !sender.as_ref().is_some_and(|sender| sender.is_closed()) {
            connection.handle(command, ctx).handle(ctx, sender);
        }
    }

    fn refuse(self: Box<Self>) {
        QueuedCommand::refuse(*self);
    }
}

impl Refuse for Item {
    #[cold]
    fn refuse(self) {
        match self {
            Item::Send(queued) => queued.refuse(),
            Item::Command(queued) => queued.refuse(),
            Item::Signal(_) => {}
        }
    }
}

impl Shared<Item> {
    /// Adds an item, or answers that the actor has ended and returns `false`.
    #[inline]
    fn accept(&self, item: Item) -> bool {
        match self.push(item) {
            Ok(()) => true,
            Err(item) => {
                item.refuse();
                false
            }
        }
    }
}

impl CommandQueue for Shared<Item> {
    fn send(&self, queued: QueuedCommand<command::Send>) -> bool {
        self.accept(Item::Send(queued))
    }

    fn is_open(&self) -> bool {
        Shared::is_open(self)
    }

    fn watch(&self) -> &Watch {
        Shared::watch(self)
    }
}

impl Listener for Shared<Item> {
    fn notify(&self, signal: Signal) -> bool {
        self.accept(Item::Signal(signal))
    }
}

impl Connection {
    /// Executes what was sent through handles. Called before each command from the mailbox, so that
    /// this one does not overtake what was sent before it.
    pub(super) fn catch_up(&mut self, ctx: &mut Context<Connection>) {
        if !self.handle_queue.is_executing && self.handle_queue.is_waiting() {
            let items = self.handle_queue.take(None);
            self.execute_items(items, ctx);
        }
    }

    /// Executes what was sent through handles, and registers `waker` for what comes next.
    pub(super) fn poll_handle_queue(&mut self, ctx: &mut Context<Connection>, waker: &Waker) {
        let items = self.handle_queue.poll(waker);
        if !items.is_empty() {
            self.execute_items(items, ctx);
        }
    }

    fn execute_items(&mut self, items: Vec<Item>, ctx: &mut Context<Connection>) {
        self.handle_queue.is_executing = true;
        for item in items {
            match item {
                // The caller dropped its future: cancelled.
                Item::Send(QueuedCommand { sender: Some(sender), .. }) if sender.is_closed() => {}
                Item::Send(queued) => self.send_and_reply(queued, ctx),
                Item::Command(command) => command.execute(self, ctx),
                Item::Signal(signal) => self.apply_signal(signal),
            }
        }
        self.handle_queue.is_executing = false;
    }
}

#[cfg(test)]
mod tests {
    use actix::Recipient;

    use super::*;
    use crate::command::status::{OutcomeKind, Phase};
    use crate::event;
    use crate::testing::{Probe, Script, Server};

    /// The event of the rows with `<E>`.
    type E = event::Message;

    /// A command to send, and the check that its answer comes from an open connection. The test does
    /// not compile if a row of the table has no case.
    trait Case: Command {
        fn new(probe: &Probe) -> Self;
        fn is_executed(answer: &Self::Output) -> bool;
    }

    macro_rules! case {
        ($Case:ty, $new:expr, $is_executed:expr) => {
            impl Case for $Case {
                fn new(probe: &Probe) -> Self {
                    let new: fn(Recipient<E>) -> Self = $new;
                    new(probe.recipient())
                }

                fn is_executed(answer: &Self::Output) -> bool {
                    let is_executed: fn(&<Self as Command>::Output) -> bool = $is_executed;
                    is_executed(answer)
                }
            }
        };
    }

    fn in_epoch_1(accepted: &Accepted) -> bool {
        accepted.epoch == 1
    }

    case!(command::Send, |_| command::Send::text("sent"), in_epoch_1);
    case!(
        command::SendBatch,
        |_| command::SendBatch::new([command::Send::text("sent")]),
        in_epoch_1
    );
    case!(command::Ping, |_| command::Ping::default(), in_epoch_1);
    case!(command::Pong, |_| command::Pong::default(), in_epoch_1);
    case!(command::Close, |_| command::Close::normal(), |outcome: &Outcome| outcome.kind
        == OutcomeKind::Closed
        && outcome.epochs == 1);
    case!(command::Reconnect, |_| command::Reconnect, |()| true);
    case!(command::Pause, |_| command::Pause, |()| true);
    case!(command::Resume, |_| command::Resume, |()| true);
    case!(command::Fail, |_| command::Fail::new(1, "stale"), |was_open: &bool| *was_open);
    case!(command::Settled, |_| command::Settled { epoch: 1 }, |is_open: &bool| *is_open);
    case!(command::Hold, |_| command::Hold(true), |()| true);
    case!(command::Ledger, |_| command::Ledger, |sent: &SentFrames| sent.epoch == 1);
    case!(command::Status, |_| command::Status, |status: &Status| status.phase == Phase::Open);
    case!(command::Watch, |_| command::Watch, |watch: &Watch| watch.epoch() == 1);
    case!(command::Subscribe<E>, command::Subscribe, |()| true);
    case!(command::Unsubscribe<E>, command::Unsubscribe, |was_one: &bool| *was_one);

    async fn send_both_ways<C: Case>()
    where
        Connection: Handler<C>,
    {
        for by_handle in [true, false] {
            let server = Server::start(Script::accept());
            let probe = Probe::new();
            let builder = Connection::builder(server.url()).no_reconnect();
            let builder = builder.on_message_to(probe.recipient());
            let connection = probe.attach(builder).start().unwrap();
            let handle = probe.next::<event::Open>().await.connection;
            let command = C::new(&probe);
            let answer = match by_handle {
                true => handle.send(command).await,
                false => C::answered(connection.send(command).await.ok()),
            };
            let is_executed = answer.as_ref().is_ok_and(C::is_executed);
            assert!(is_executed, "{} by a handle: {by_handle}", std::any::type_name::<C>());
        }
    }

    macro_rules! send_all {
        ($($Command:ident $(<$E:ident>)? ($($_:ty),+) $shape:ident $push:ident $refuse:ident,)+) => {
            $(send_both_ways::<command::$Command $(<$E>)?>().await;)+
        };
    }

    #[actix::test]
    async fn every_command_is_executed_whether_sent_by_a_handle_or_an_address() {
        command_table!(send_all);
    }
}
