//! Sizes of foreign types, and habits of the allocator, that this crate is fitted to. Nothing breaks where
//! they differ, but the delivery of single messages then costs more than it has to. Each failure says what
//! to change.
#![cfg(all(target_os = "linux", target_env = "gnu", target_pointer_width = "64"))]

use std::hint::black_box;
use std::time::Instant;

use actix::dev::Envelope;
use actix::{Actor, Context, Handler};
use actix_ws_client::{Connection, Payload, SourceId, event};

/// A handler that is never scheduled while its mailbox is filled.
struct Idle;

impl Actor for Idle {
    type Context = Context<Idle>;
}

impl Handler<event::Message> for Idle {
    type Result = ();

    fn handle(&mut self, _: event::Message, _: &mut Context<Idle>) {}
}

fn message(source: SourceId) -> event::Message {
    event::Message { source, epoch: 1, payload: Payload::from(""), received: Instant::now() }
}

fn source() -> SourceId {
    Connection::builder("ws://h/").source()
}

/// A block of the allocator's with room for `size` bytes.
fn block(size: usize) -> Vec<u8> {
    black_box(Vec::with_capacity(size))
}

fn address(block: &[u8]) -> usize {
    block.as_ptr() as usize
}

/// Whether `allocate` takes a block of the size class of `size`: the block of that class that was freed
/// last is the first that the thread's cache gives out again.
fn takes_a_block_of<T>(size: usize, allocate: impl FnOnce() -> T) -> bool {
    let freed = block(size);
    let last = address(&freed);
    drop(freed);
    let kept = black_box(allocate());
    let next = address(&block(size));
    drop(kept);
    next != last
}

const ADVICE: &str =
    "change the sizes that `copied` in src/proto/messages.rs keeps away from, and its comment";

#[test]
fn an_envelope_of_a_message_has_the_size_that_copies_avoid() {
    let source = source();
    // glibc's blocks are 16 bytes apart: one for 88 bytes is taken for 73 to 88.
    let envelope = || Envelope::<Idle>::new(message(source), None);
    assert!(takes_a_block_of(88, envelope), "actix's envelope is of another size: {ADVICE}");
    assert!(!takes_a_block_of(72, envelope) && !takes_a_block_of(104, envelope), "not a test");
}

#[actix::test]
async fn a_place_in_a_mailbox_has_the_size_that_copies_avoid() {
    let (addr, source) = (Idle.start(), source());
    let send = || addr.do_send(message(source));
    assert!(takes_a_block_of(24, send), "a place in actix's mailbox is of another size: {ADVICE}");
    assert!(!takes_a_block_of(40, send), "not a test");
}

#[test]
fn glibc_keeps_seven_freed_blocks_of_a_size_at_hand() {
    // None is left in the thread's cache when so many are held.
    let mut held: Vec<_> = (0..100).map(|_| block(88)).collect();
    let freed: Vec<usize> = held.drain(80..).map(|block| address(&block)).collect();
    // The cache was full with the block that it gives out first.
    let next = address(&block(88));
    let kept = freed.iter().position(|&address| address == next).map(|index| index + 1);
    let advice =
        "measure `inbound-16-binary` of `message` with TURN in src/delivery/mod.rs set to that";
    assert_eq!(kept, Some(7), "glibc keeps another number of blocks: {advice}");
}

#[actix::test]
async fn the_messages_of_a_turn_fit_twice_into_a_mailbox_of_the_default_size() {
    let (addr, source) = (Idle.start(), source());
    let room = (0..100).take_while(|_| addr.try_send(message(source)).is_ok()).count();
    assert!(
        room >= 14,
        "there is room for {room}: set TURN in src/delivery/mod.rs to half of that"
    );
}
