//! The metrics of the library as text, in Prometheus' format, for `/metrics`.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use actix_ws_client::Budget;
use actix_ws_client::feed::command::FeedStatus;
use actix_ws_client::metrics as library;
use metrics::{
    Counter, Gauge, Histogram, Key, KeyName, Label, Metadata, Recorder, SharedString, Unit,
    with_local_recorder,
};

use crate::feed::publishing::WatchPublishing;

/// The type of the answer.
pub(crate) const TEXT_FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Formats the metrics of a feed, of its budget and of its publication.
pub(crate) fn text(
    name: &str,
    status: Option<&FeedStatus>,
    budget: Option<&Budget>,
    publication: Option<&dyn WatchPublishing>,
) -> String {
    let page = Page::default();
    with_local_recorder(&page, || {
        library::describe();
        if let Some(status) = status {
            library::feed(name, status);
        }
        if let Some(budget) = budget {
            library::budget(name, budget);
        }
        if let Some(publication) = publication {
            publication.export(name);
        }
    });
    page.text()
}

/// A recorder for one answer.
#[derive(Default)]
struct Page(Mutex<BTreeMap<String, Family>>);

/// One metric with all its series.
#[derive(Default)]
struct Family {
    kind: Option<Kind>,
    help: String,
    series: Vec<(String, Arc<AtomicU64>)>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Counter,
    Gauge,
}

impl Page {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Family>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn describe(&self, name: &KeyName, kind: Kind, help: &SharedString) {
        let mut families = self.lock();
        let family = families.entry(name.as_str().to_owned()).or_default();
        (family.kind, family.help) = (Some(kind), help.to_string());
    }

    fn register(&self, key: &Key) -> Arc<AtomicU64> {
        let value = Arc::new(AtomicU64::new(0));
        let mut families = self.lock();
        let family = families.entry(key.name().to_owned()).or_default();
        family.series.push((labels(key.labels()), value.clone()));
        value
    }

    fn text(&self) -> String {
        let mut text = String::new();
        for (name, Family { kind, help, series }) in &*self.lock() {
            let Some(kind) = kind.filter(|_| !series.is_empty()) else { continue };
            let word = if kind == Kind::Counter { "counter" } else { "gauge" };
            let help = help.replace('\\', "\\\\").replace('\n', "\\n");
            // A `String` takes all that is written.
            let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {word}");
            for (labels, value) in series {
                let bits = value.load(Relaxed);
                let _ = match kind {
                    Kind::Counter => writeln!(text, "{name}{labels} {bits}"),
                    // It has no value.
                    Kind::Gauge if f64::from_bits(bits).is_nan() => Ok(()),
                    Kind::Gauge => writeln!(text, "{name}{labels} {}", f64::from_bits(bits)),
                };
            }
        }
        text
    }
}

/// Formats labels, in braces.
fn labels<'l>(labels: impl Iterator<Item = &'l Label>) -> String {
    let escaped =
        |value: &str| value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    let labels = labels.map(|label| format!("{}=\"{}\"", label.key(), escaped(label.value())));
    let labels: Vec<String> = labels.collect();
    if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) }
}

impl Recorder for Page {
    fn describe_counter(&self, name: KeyName, _: Option<Unit>, help: SharedString) {
        self.describe(&name, Kind::Counter, &help);
    }

    fn describe_gauge(&self, name: KeyName, _: Option<Unit>, help: SharedString) {
        self.describe(&name, Kind::Gauge, &help);
    }

    /// The library has none.
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.register(key))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(self.register(key))
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_feed_is_text_for_prometheus() {
        let mut status = FeedStatus::default();
        (status.figures.wanted, status.figures.gaps) = (3, 7);
        let budget = Budget::dials(5, Duration::from_secs(60));
        let text = text("a \"b\"\\\n", Some(&status), Some(&budget), None);
        let label = r#"a \"b\"\\\n"#;
        for line in [
            "# TYPE actix_ws_feed_gaps_total counter".to_owned(),
            format!("actix_ws_feed_gaps_total{{feed=\"{label}\"}} 7"),
            format!("actix_ws_feed_topics{{feed=\"{label}\",state=\"wanted\"}} 3"),
            format!("actix_ws_budget_dials_left{{budget=\"{label}\"}} 5"),
            "# HELP actix_ws_feed_shards shards".to_owned(),
        ] {
            assert!(text.lines().any(|other| other == line), "{line}\n{text}");
        }
        // Without lines there is none of theirs.
        assert!(!text.contains("actix_ws_line_") && !text.contains("NaN"), "{text}");
    }

    #[test]
    fn a_gauge_without_a_value_is_left_out() {
        let page = Page::default();
        with_local_recorder(&page, || {
            metrics::describe_gauge!("g", "what it is");
            metrics::gauge!("g", "a" => "1").set(f64::NAN);
            metrics::gauge!("g", "a" => "2").set(0.25);
        });
        assert_eq!(page.text(), "# HELP g what it is\n# TYPE g gauge\ng{a=\"2\"} 0.25\n");
    }
}
