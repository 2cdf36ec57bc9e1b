//! Figures of connections, feeds and budgets for the recorder of the `metrics` crate that the application installs, such as an
//! exporter for Prometheus.
//!
//! Nothing is counted for them: each export reads what [`Watch`](crate::Watch),
//! [`feed::command::Status`](crate::feed::command::Status) and [`Budget`](crate::Budget) have anyway. So they cost nothing for each
//! message, and are as old as the last export. An [`Exporter`] exports again and again; [`connection()`], [`feed()`] and [`budget()`] export
//! once, for a program that has a clock or a scrape of its own.
//!
//! With the feature `nats` there are those of publishers too.
//!
//! `docs/metrics.md` lists all of them. Labels are names of connections, feeds, budgets and publishers, shards, lines, states and reasons; never a topic.

mod exporter;
mod once;
#[cfg(feature = "nats")]
mod publisher;
mod table;

pub use crate::metrics::exporter::Exporter;
pub use crate::metrics::once::{budget, connection, describe, feed};
#[cfg(feature = "nats")]
pub use crate::metrics::publisher::{publisher, shares};
