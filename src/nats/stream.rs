//! Whether a stream can take what is published, and how one is made that can.

use std::time::Duration;

use serde_json::{Value, json};

use crate::nats::options::Options;
use crate::nats::subject::{Subject, covers};

/// How long a stream that is made here remembers ids.
const DUPLICATE_WINDOW: Duration = Duration::from_secs(600);

/// Returns the configuration of a stream that is made here.
pub(crate) fn wanted(options: &Options, subject: &Subject) -> Value {
    json!({
        "name": options.stream,
        "subjects": [subject.filter()],
        "retention": "limits",
        "storage": "file",
        "discard": "old",
        "num_replicas": options.replicas,
        "duplicate_window": DUPLICATE_WINDOW.max(least_window(options)).as_nanos() as u64,
        "allow_direct": true,
        "max_consumers": -1,
        "max_msgs": -1,
        "max_bytes": -1,
        "max_age": 0,
    })
}

/// Returns how long a publication may be on its way: as long as the owner of a topic may not know that it is not the owner
/// any more, and as long as it takes to repeat it and to find that it is not answered.
fn least_window(options: &Options) -> Duration {
    options.lease + 2 * options.ack_timeout
}

/// Checks the configuration of a stream that exists.
///
/// # Errors
/// What came, what was expected, and what mends it.
pub(crate) fn check(config: &Value, options: &Options, subject: &Subject) -> Result<(), String> {
    let filter = subject.filter();
    let list = |key: &str| config[key].as_array().cloned().unwrap_or_default();
    let subjects: Vec<String> =
        list("subjects").iter().filter_map(|it| it.as_str().map(str::to_owned)).collect();
    if !subjects.iter().any(|pattern| covers(pattern, &filter)) {
        let has = match subjects.is_empty() {
            true => "has no subjects of its own".to_owned(),
            false => format!("has the subjects {}", subjects.join(", ")),
        };
        return Err(format!(
            "{has}, and {filter} is published: add that to the stream, or name another stream or subject"
        ));
    }
    let is_set = |key: &str| config[key].as_bool() == Some(true);
    if is_set("sealed") {
        return Err("is sealed, and takes no message: name another stream".to_owned());
    }
    if is_set("no_ack") {
        return Err("has `no_ack`, and acknowledgements are waited for: turn it off".to_owned());
    }
    if !config["subject_transform"].is_null() {
        return Err("has a `subject_transform`, and messages are looked up by the subject that they were published on: \
                    remove it"
            .to_owned());
    }
    let retention = config["retention"].as_str().unwrap_or("limits");
    if retention != "limits" {
        return Err(format!(
            "has the retention `{retention}`, which removes messages that were consumed, and with them what says how far a \
             topic is published; `limits` is expected: name another stream"
        ));
    }
    let window = Duration::from_nanos(config["duplicate_window"].as_u64().unwrap_or(0));
    let least = least_window(options);
    if window < least {
        let lease = match options.lease.is_zero() {
            true => String::new(),
            false => format!("the lease of {:?} and ", options.lease),
        };
        return Err(format!(
            "has a `duplicate_window` of {window:?}, and at least {least:?} is expected, {lease}twice the `ack_timeout` of \
             {:?}: make the window longer, or the others shorter",
            options.ack_timeout
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options() -> Options {
        Options::new("nats://127.0.0.1")
    }

    fn subject() -> Subject {
        Subject::read("feed.{topic}").unwrap()
    }

    fn checked(change: impl FnOnce(&mut Value)) -> Result<(), String> {
        let mut config = wanted(&options(), &subject());
        change(&mut config);
        check(&config, &options(), &subject())
    }

    #[test]
    fn a_stream_that_is_made_here_is_one_that_can_be_used() {
        assert_eq!(checked(|_| {}), Ok(()));
        let config = wanted(&options(), &subject());
        assert_eq!(
            (&config["subjects"], &config["duplicate_window"]),
            (&json!(["feed.*"]), &json!(600_000_000_000_u64))
        );
        let long = options().lease(Duration::from_secs(3600));
        assert_eq!(check(&wanted(&long, &subject()), &long, &subject()), Ok(()));
    }

    #[test]
    fn a_stream_that_cannot_be_used_is_refused_with_what_mends_it() {
        for (key, value, why) in [
            (
                "subjects",
                json!(["orders.*", "feed.a"]),
                "has the subjects orders.*, feed.a, and feed.* is published",
            ),
            ("subjects", Value::Null, "has no subjects of its own, and feed.* is published"),
            ("sealed", json!(true), "is sealed"),
            ("no_ack", json!(true), "has `no_ack`"),
            ("subject_transform", json!({"src": "a", "dest": "b"}), "has a `subject_transform`"),
            ("retention", json!("workqueue"), "has the retention `workqueue`"),
            (
                "duplicate_window",
                json!(3_999_000_000_u64),
                "has a `duplicate_window` of 3.999s, and at least 4s is expected, twice",
            ),
        ] {
            let err = checked(|config| config[key] = value).unwrap_err();
            assert!(err.starts_with(why), "{err}");
        }
        assert_eq!(checked(|config| config["duplicate_window"] = json!(4_000_000_000_u64)), Ok(()));
        let leased = options().lease(Duration::from_secs(600));
        let err = check(&wanted(&options(), &subject()), &leased, &subject()).unwrap_err();
        assert!(
            err.contains("604s is expected, the lease of 600s and twice the `ack_timeout` of 2s"),
            "{err}"
        );
    }

    #[test]
    fn a_stream_of_more_subjects_can_be_used() {
        assert_eq!(checked(|config| config["subjects"] = json!(["orders.*", "feed.>"])), Ok(()));
    }
}
