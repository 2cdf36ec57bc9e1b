//! The file of `wsup feed`: a venue as data. It is parsed and checked as a whole; nothing is read or dialled.

mod ack;
mod hours;
mod login;
mod parts;
mod rules;
mod section;
mod venue;

pub(crate) use venue::Venue;
