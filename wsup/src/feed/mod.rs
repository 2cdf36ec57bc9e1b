//! `wsup feed`: many connections as one market-data feed, described by a file.
//!
//! ```text
//! section -> venue (ack, login, subscribe, rules, rotate, resync, hours, parts)   the file as values, checked as a whole
//! values, command -> dialer -> dialect                            what each dial and session needs
//! ledger -> json, human, table (form) -> printer                  what is shown
//! plan                                                            what --check prints
//! observer, serve                                                 what --serve shows
//! publish -> publishing                                           what --publish sends to NATS, and how that goes
//! member, share                                                   what --share does
//! prepare -> beside -> run                                        one run: what is read, what runs beside the feed
//! ```

mod ack;
mod beside;
mod command;
mod dialect;
mod dialer;
mod flags;
mod form;
mod group;
mod hours;
mod human;
mod json;
mod ledger;
mod limits;
mod login;
mod member;
mod observer;
mod parts;
mod plan;
mod prepare;
mod printer;
#[cfg(feature = "nats")]
mod publish;
mod publishing;
mod replayed;
mod resync;
mod rotate;
mod rules;
mod run;
mod section;
#[cfg(feature = "serve")]
mod serve;
#[cfg(feature = "nats")]
mod share;
mod subscribe;
mod table;
mod values;
mod venue;

pub(crate) use flags::FeedFlags;
pub(crate) use run::run;
