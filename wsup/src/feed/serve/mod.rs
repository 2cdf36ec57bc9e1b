//! `wsup feed --serve`: a feed that shows itself over HTTP, to probes, to scrapers, and to people on a page.
//!
//! ```text
//! topics, lines, journal, totals -> board      what is known: values, time as an argument
//! health, status, frame                        the board as a verdict, as JSON, and as frames for pages
//! metrics                                      the library's metrics as text
//! hub                                          the board and the open pages, which the threads share
//! guard (token), http, events                  the server
//! ```

mod board;
mod events;
mod flags;
mod frame;
mod guard;
mod health;
mod http;
mod hub;
mod journal;
mod lines;
mod metrics;
mod samples;
mod status;
mod token;
mod topics;

pub(crate) use flags::{Prepared, ServeFlags};
pub(crate) use http::{Server, Serving};
