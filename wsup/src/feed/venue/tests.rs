use super::*;

/// Every key of the format.
const ALL: &str = include_str!("../all.toml");

const SMALL: &str = r#"
url = "wss://a.example/ws"
topics = ["trades:BTC-USD"]
subscribe.send = '{"id":{id},"args":{topics}}'
ack.id = "/id"
data.topic = "/s"
"#;

#[test]
fn every_key_is_read() {
    let venue = Venue::parse(ALL).unwrap();
    assert!(matches!(&venue.urls, Urls::List(urls) if urls.len() == 2));
    assert_eq!(venue.headers.len(), 2);
    assert_eq!(venue.subscribe.by.as_deref(), Some("channel"));
    let login = venue.login.unwrap();
    assert_eq!(login.refused.unwrap().codes_for_good, ["60009", "7"]);
    assert!(matches!(&venue.ack.by, By::Id(_, Some(_))));
    assert!(venue.data.sequence.unwrap().restarts);
    assert_eq!(venue.heartbeat.unwrap().every, Duration::from_secs(20));
    assert_eq!((venue.answers.len(), venue.notices.len()), (1, 2));
    assert_eq!(venue.notices[1].action, NoticeAction::Pause);
    assert_eq!((venue.rules.requests[0].count, venue.rules.sockets), (480, Some(10)));
    assert_eq!(venue.silence.unwrap().open.len(), 1);
    assert_eq!((venue.lines, venue.overflow), (2, Overflow::Latest));
    let rotate = venue.rotate.unwrap();
    assert_eq!(rotate.age, Some(Duration::from_secs(23 * 3600)));
    assert!(rotate.break_first && rotate.hours[0].to_string() == "02:00-04:00");
    let resync = venue.resync.unwrap();
    assert!(resync.send.is_some() && resync.answer.unwrap().last.is_some());
    assert_eq!((resync.asks.count, resync.first_wait), (10, Some(Duration::from_secs(5))));
    assert_eq!(venue.decode, Some(Compressed::Gzip));
}

#[test]
fn one_value_is_a_list_of_one() {
    let lists = ALL.replace("[\"5/1s\"]", "\"5/1s\"").replace("[\"Mon-Fri", "\"Mon-Fri");
    let lists = lists.replace("21:00\"]", "21:00\"").replace("[[answer]]", "[answer]");
    let venue = Venue::parse(&lists).unwrap();
    assert_eq!((venue.rules.frames[0].count, venue.answers.len()), (5, 1));
    assert_eq!(venue.silence.unwrap().open.len(), 1);
}

#[test]
fn what_may_be_left_out_has_a_default() {
    let venue = Venue::parse(SMALL).unwrap();
    assert!(venue.login.is_none() && venue.item.is_none() && venue.rules.frames.is_empty());
}

#[test]
fn what_is_wrong_is_named_with_its_place() {
    let mut problems = Vec::new();
    for (old, new, wrong) in [
        ("ack.id", "ack.idd", "line 5, column 5: `ack.idd` is unknown: is it `ack.id`?"),
        (
            "data.topic",
            "data.extra = 1\ndata.topic",
            "line 6, column 6: `data.extra` is unknown; known here: topic, key, when, sequence, snapshot",
        ),
        ("url = \"wss://a.example/ws\"", "", "line 1, column 1: `url` or `url_command` is missing"),
        ("ack.id = \"/id\"", "", "line 1, column 1: `ack` is missing"),
        ("url =", "urls =", "line 2, column 1: `urls` is unknown: is it `url`?"),
        (
            "url =",
            "lines = 0\nurl =",
            "line 2, column 1: `lines`: expected a whole number above zero, not 0",
        ),
        (
            "url =",
            "url_command = 'x'\nurl =",
            "line 2, column 1: `url_command` and `url`: only one of them may be there",
        ),
        (
            "ack.id =",
            "ack.none = true\nack.id =",
            "line 5, column 5: `ack.none` and `ack.id`: only one",
        ),
        ("ack.id =", "ack.key = '/c'\nack.topic =", "`ack.key`: needs `data.key`"),
        ("data.topic =", "data.key =", "`data.key`: needs `ack.key`"),
        (
            "data.topic",
            "data.sequence = { kind = 'contiguous', at = '/n' }\ndata.topic",
            "`data.sequence.at`: \"contiguous\" needs `first` and `last`, which may be",
        ),
        (
            "{topics}",
            "{topic2}",
            "line 4, column 11: `subscribe.send`: `{topic2}` is unknown; known here: id, topics, topic",
        ),
        ("{topics}", "1", "line 4, column 11: `subscribe.send`: has no {topics}"),
        ("{topics}", "{topics},{topic}", "only one of them may be there"),
        ("url =", "lines = 9\nurl =", "line 2, column 1: `lines`: expected 1 to 8 lines, not 9"),
        ("url =", "overflow = 'last'\nurl =", "`overflow`: expected \"wait\" or \"latest\", not"),
        (
            "url =",
            "rotate = {}\nurl =",
            "line 2, column 1: `rotate.age` or `rotate.hours` or `rotate.break_first` is missing",
        ),
        ("url =", "rotate.age = 23\nurl =", "line 2, column 8: `rotate.age`: expected a time"),
        (
            "url =",
            "rotate.hours = ['02:00-04:00', 'Mon 02:00-04:00']\nurl =",
            "line 2, column 32: `rotate.hours`: expected hours of every day, such as",
        ),
        (
            "url =",
            "rotate.hours = '2-4'\nurl =",
            "line 2, column 8: `rotate.hours`: expected hours in UTC such as 02:00-04:00",
        ),
        ("url =", "rotate.jitter = '1h'\nrotate.age = '2h'\nurl =", "`rotate.jitter` is unknown;"),
        (
            "url =",
            "resync = {}\nurl =",
            "line 2, column 1: `resync`: without `send` a topic is subscribed again: that needs",
        ),
        ("url =", "resync.send = 'x'\nurl =", "line 2, column 8: `resync.send`: has no {topic}"),
        ("url =", "resync.send = '{topic}'\nurl =", "line 2, column 1: `resync.when` is missing"),
        (
            "url =",
            "resync.last = '/l'\nurl =",
            "line 2, column 8: `resync.last`: there is no `resync.send` whose answer it would",
        ),
        (
            "url =",
            "resync = { send = '{topic}', when = { text = 'x' }, topic = '/s', last = '/l' }\nurl =",
            "line 2, column 67: `resync.last`: needs `data.sequence`",
        ),
        (
            "url =",
            "data.sequence = { kind = 'id', at = '/n' }\nresync = { send = '{topic}', when = { text = 'x' }, topic = '/s' }\nurl =",
            "line 3, column 1: `resync.last` is missing",
        ),
        (
            "url =",
            "data.snapshot = { text = 'x' }\nresync.asks = ['1/1s', '2/1m']\nurl =",
            "line 3, column 8: `resync.asks`: expected one rate, such as",
        ),
        (
            "url =",
            "data.snapshot = { text = 'x' }\nresync.first_wait = 3\nurl =",
            "line 3, column 8: `resync.first_wait`: expected a time such as",
        ),
        (
            "url =",
            "data.snapshot = { text = 'x' }\nresync.send = '{key}'\nurl =",
            "line 3, column 8: `resync.send`: `{key}` is unknown; known here: id, topic, topics",
        ),
        (
            "data.topic",
            "unsubscribe.send = '{key}'\ndata.topic",
            "`unsubscribe.send`: {key} needs `ack.key`",
        ),
        ("ack.id =", "ack.key = '/c'\nack.id =", "`ack.key`: goes with `ack.topic` only"),
        ("topics = [\"trades:BTC-USD\"]", "topics = []", "`topics`: there is no topic"),
        ("{id}", "1", "`ack.id`: `subscribe.send` has no {id}"),
        ("\"/s\"", "\"s\"", "line 6, column 6: `data.topic`: expected a JSON pointer"),
        ("\"/s\"", "\"/~\"", "line 6, column 6: `data.topic`: `/~` is no JSON pointer"),
        ("\"/s\"", "7", "line 6, column 6: `data.topic`: expected a string, not an integer"),
        ("\"/s\"", "\"${env:A}\"", "line 6, column 6: `data.topic`: `${…}` may only stand"),
        (
            "data.topic",
            "heartbeat = { every = '20' , send = 'x' }\ndata.topic",
            "line 6, column 15: `heartbeat.every`: a duration is",
        ),
        (
            "data.topic",
            "heartbeat.send = 'ping'\ndata.topic",
            "line 6, column 1: `heartbeat.every` is missing",
        ),
        (
            "data.topic",
            "data.when = { at = '/a' }\ndata.topic",
            "`data.when.is` or `data.when.exists` is missing",
        ),
        ("data.topic", "data.when = { at = '/a', exists = false }\ndata.topic", "only `true`"),
        (
            "data.topic",
            "rules.frames = ['5/1s', '5']\ndata.topic",
            "line 6, column 25: `rules.frames`: a rate is",
        ),
        (
            "data.topic",
            "silence = { topic = '1s', action = 'no' }\ndata.topic",
            "expected \"report\" or \"resubscribe\" or \"fail\"",
        ),
        (
            "data.topic",
            "subscribe.by = 'inst'\ndata.topic",
            "`subscribe.by`: \"inst\" needs `topic.parts`",
        ),
        (
            "data.topic",
            "topic.parts = '{a}/{b}'\ndata.topic",
            "`topics`: \"trades:BTC-USD\" does not fit",
        ),
        (
            "data.topic",
            "[[answer]]\nwhen = { text = 'a' }\nsend = '{/x'\n[data]\ntopic",
            "line 8, column 1: `answer.send`: no } behind",
        ),
        ("ack.id = \"/id\"", "ack.id = ", "line 5, column"),
        (
            "topics = [",
            "topics = [\"a\", \"a\", ",
            "line 3, column 16: `topics`: \"a\" is there twice",
        ),
        ("topics = [", "topics = [\"\", ", "line 3, column 11: `topics`: a topic has no name"),
        ("ack.id =", "ack.id = 1\nack.id =", "line 6, column 5: `id` is there twice"),
        (
            "data.topic",
            "rules.topics_per_line = 0x10\ndata.topic",
            "expected a whole number above zero, in decimal digits",
        ),
        (
            "data.topic",
            "heartbeat.every = 20\ndata.topic",
            "`heartbeat.every`: expected a time such as \"20s\", not an integer",
        ),
        (
            "data.topic",
            "silence = { topic = '1s', action = 'no' }\ndata.topic",
            "or \"fail\", not \"no\"",
        ),
        // What is spelled almost alike may be right.
        ("subscribe.send", "unsubscribe.send", "line 1, column 1: `subscribe` is missing"),
        ("ack.id", "ack.topics", "`ack.id` or `ack.topic` or `ack.next` or `ack.none` is"),
        ("topics = [\"trades:BTC-USD\"]", "topic.item = 'a'", "`topics_file` is missing"),
        (
            "data.topic",
            "data.when = { is = 'x' }\ndata.topic",
            "`data.when.at` or `data.when.text` is missing",
        ),
        // A key of the file below the head of a table.
        (
            "url = \"wss://a.example/ws\"",
            "[rules]\nurl = \"wss://a.example/ws\"",
            "line 3, column 1: `url` or `url_command` is missing, and `rules.url` is unknown: a key of no table",
        ),
        (
            "wss://",
            "https://",
            "line 2, column 1: `url`: expected a URL that begins with ws:// or wss://",
        ),
    ] {
        assert!(SMALL.contains(old), "{old}");
        let parsed = Venue::parse(&SMALL.replacen(old, new, 1));
        let err = parsed.err().unwrap_or_else(|| "it is accepted".to_owned());
        if !err.contains(wrong) {
            problems.push(format!("{new}:\n   {err}\nnot {wrong}"));
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn the_documents_have_every_key() {
    let docs = include_str!("../../../../docs/feed.md");
    let table = docs.split_once("| key | value | meaning |\n").unwrap().1;
    let rows = table.lines().skip(1).take_while(|line| line.starts_with('|'));
    let documented: Vec<&str> = rows.map(|row| row.split('`').nth(1).unwrap()).collect();
    // A key that is unknown is answered with those that are known.
    let known = |file: String| {
        let wrong = Venue::parse(&file).unwrap_err();
        wrong.split_once("known here: ").expect(&wrong).1.replace(' ', "")
    };
    let mut keys: Vec<String> = Vec::new();
    let sections = |line: &&str| line.starts_with('[') && !line.starts_with("[[");
    let sections: Vec<&str> = ALL.lines().filter(sections).collect();
    for key in known(format!("zzzz = 1\n{ALL}")).split(',') {
        match sections.iter().find(|section| **section == format!("[{key}]")) {
            Some(section) if key != "headers" => {
                let file = ALL.replace(section, &format!("{section}\nzzzz = 1"));
                keys.extend(known(file).split(',').map(|inner| format!("{key}.{inner}")));
            }
            _ => keys.push(key.to_owned()),
        }
    }
    assert!(keys.len() > 45, "{keys:?}");
    let (mut keys, mut documented) = (keys, documented);
    keys.sort_unstable();
    documented.sort_unstable();
    assert_eq!(documented, keys, "docs/feed.md");
}

#[test]
fn no_file_panics() {
    // Any prefix, and any line left out or doubled.
    for end in 0..ALL.len() {
        let _ = ALL.get(..end).map(Venue::parse);
    }
    let lines: Vec<&str> = ALL.lines().collect();
    for index in 0..lines.len() {
        let without = [&lines[..index], &lines[index + 1..]].concat().join("\n");
        let doubled = [&lines[..=index], &lines[index..]].concat().join("\n");
        for file in [without, doubled] {
            let _ = Venue::parse(&file);
        }
    }
}
