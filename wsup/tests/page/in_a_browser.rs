//! What people see.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::browser::Browser;
use crate::files::Folder;
use crate::gate::Gate;
use crate::market::{self, Market};
use crate::process::parse;
use crate::sim::Sim;
use crate::watched::Watched;

/// Where screenshots are kept.
fn folder() -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("page");
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// A market, the way to it, a feed, and a browser that watches it.
struct Scene {
    market: Market,
    gate: Gate,
    watched: Watched,
    browser: Browser,
    _sim: Sim,
}

impl Scene {
    /// Watches a market of this many topics.
    fn new(name: &str, topics: usize, per_line: usize, further: &str, args: &[&str]) -> Scene {
        let topics: Vec<String> = (0..topics).map(market::topic).collect();
        Scene::watched(name, &topics, per_line, further, |file| Watched::run(file, args))
    }

    /// Watches a market of these topics.
    fn watched(
        name: &str,
        topics: &[String],
        per_line: usize,
        further: &str,
        run: impl FnOnce(&str) -> Watched,
    ) -> Scene {
        let market = Market::new();
        let sockets = market.clone();
        let sim = Sim::steady(move || sockets.socket());
        let gate = Gate::to(sim.port);
        let file = format!(
            "{further}{}[rules]\ntopics_per_line = {per_line}\n",
            market::file(&gate.url(), topics)
        );
        let watched = run(&file);
        let browser = Browser::start(name);
        Scene { market, gate, watched, browser, _sim: sim }
    }

    fn open(&mut self) {
        let url = format!("http://127.0.0.1:{}/", self.watched.port);
        self.browser.open(&url);
    }

    fn verdict(&mut self) -> Value {
        self.browser.eval("document.getElementById('verdict').textContent")
    }
}

const HEALTHY: &str = "document.getElementById('verdict').textContent === 'healthy'";

#[test]
#[ignore = "needs chromium: just page"]
fn a_venue_that_fails_is_seen_within_two_seconds() {
    let mut scene = Scene::new("fails", 300, 100, "lines = 2\n", &["--reconnect", "100ms"]);
    scene.browser.look(1280, 900, "light");
    scene.open();
    scene.browser.until(HEALTHY);
    scene.browser.until("document.querySelectorAll('.line').length === 6");
    scene.gate.cut();
    let took =
        scene.browser.until("document.getElementById('verdict').textContent === 'not healthy'");
    println!("not healthy after {took:.1?}");
    assert!(took < Duration::from_secs(2), "{took:?}");
    let alarm = scene.browser.eval("document.getElementById('alarm').textContent");
    assert!(alarm.as_str().unwrap().contains("no line is active"), "{alarm}");
    scene.browser.until("document.querySelector('#t-topics dd').textContent.startsWith('0')");
    scene.gate.open();
    scene.browser.until(HEALTHY);
    // A server that is gone is said, too.
    scene.watched.wsup.signal("KILL");
    scene.browser.until("document.getElementById('verdict').textContent.startsWith('no contact')");
    let complaints: Vec<_> = scene
        .browser
        .complaints
        .iter()
        .filter(|it| {
            !it.contains("ERR_CONNECTION_REFUSED")
                && !it.contains("ERR_INCOMPLETE_CHUNKED_ENCODING")
        })
        .collect();
    assert!(complaints.is_empty(), "{complaints:?}");
}

/// Waits for an event of the run. Returns when it was read.
fn until(watched: &mut Watched, is_it: impl Fn(&Value) -> bool) -> Instant {
    loop {
        let event = parse(&watched.wsup.line());
        if is_it(&event) {
            return Instant::now();
        }
    }
}

/// A text that is on the page.
fn says(text: &str) -> String {
    format!("document.body.textContent.includes('{text}')")
}

#[test]
#[ignore = "needs chromium: just page"]
fn a_rotation_is_seen_within_two_seconds_and_is_no_failure() {
    let rotate = "rotate.age = \"3s\"\n";
    let topics: Vec<String> = (0..30).map(market::topic).collect();
    let mut scene =
        Scene::watched("rotation", &topics, 30, rotate, |file| Watched::unread(file, &[]));
    scene.browser.look(1280, 900, "light");
    scene.open();
    scene.browser.until(HEALTHY);
    scene.browser.eval(
        "window.verdicts = new Set(); new MutationObserver(() => verdicts.add(document.getElementById('verdict').textContent))
         .observe(document.getElementById('verdict'), { childList: true, characterData: true, subtree: true }); true",
    );
    for (from, to) in [("1a", "1b"), ("1b", "1a")] {
        // A topic that never ticks holds the hand-over for five seconds.
        let began =
            until(&mut scene.watched, |event| event["line"] == to && event["state"] == "dialling");
        scene.browser.until(&says(&format!("takes over from {from}")));
        let seen = began.elapsed();
        assert!(seen < Duration::from_secs(2), "{seen:?}");
        let ended =
            until(&mut scene.watched, |event| event["event"] == "rotated" && event["to"] == to);
        scene.browser.until(&says(&format!("{from} → {to}")));
        println!(
            "a rotation was seen {seen:.1?} after it began, its end after {:.1?}",
            ended.elapsed()
        );
        assert!(ended.elapsed() < Duration::from_secs(2), "{:?}", ended.elapsed());
        // The history of the old line is that of the new one.
        scene.browser.until("document.querySelector('.turn') !== null");
    }
    assert_eq!(scene.browser.eval("[...verdicts].join()"), "");
    assert!(scene.watched.get("/status").json()["rotations"].as_u64() >= Some(2));
    assert_eq!(scene.browser.complaints, [""; 0]);
}

/// Rotates two lines that are active: one at once, and one of which a topic brings nothing on the new line, so that its
/// rotation does not end.
fn rotate_two(scene: &mut Scene, per_line: usize) {
    let status = scene.watched.get("/status").json();
    let is_active = |shard: &&Value| shard["lines"][0]["state"] == "active";
    let shards = status["shards"].as_array().unwrap().iter().filter(is_active);
    let shards: Vec<usize> =
        shards.map(|shard| usize::try_from(shard["shard"].as_u64().unwrap()).unwrap()).collect();
    let busy = |shard: usize| {
        let topics = (shard - 1) * per_line..shard * per_line;
        let mut topics = topics.map(market::topic);
        let is_busy =
            |topic: &String| (1..=40).contains(&market::period(topic)) && !topic.ends_with("00");
        topics.find(is_busy).unwrap()
    };
    let [.., second, first] = shards[..] else { panic!("{status}") };
    scene.market.announce_end(&busy(first));
    scene.browser.until(&says(&format!("{first}a → {first}b")));
    scene.browser.until("document.querySelector('.turn') !== null");
    scene.market.mute(&busy(second));
    scene.market.announce_end(&busy(second));
    scene.browser.until(&says(&format!("takes over from {second}a")));
}

#[test]
#[ignore = "needs chromium: just page"]
fn the_page_is_drawn_at_two_widths_in_both_schemes() {
    let further = format!("silence.topic = \"4s\"\n{}", market::BOOKS);
    let mut scene = Scene::new("drawn", 600, 60, &further, &["--reconnect", "60s"]);
    scene.browser.look(1280, 900, "light");
    scene.open();
    scene.browser.until(HEALTHY);
    scene.browser.until(&says("no snapshot has come"));
    scene.browser.until("document.body.innerText.includes('silent')");
    scene.gate.cut_some(2);
    scene.browser.until("document.getElementById('verdict').textContent === 'not healthy'");
    rotate_two(&mut scene, 60);
    for (width, height) in [(390, 844), (1280, 900)] {
        for scheme in ["light", "dark"] {
            scene.browser.look(width, height, scheme);
            scene.browser.eval("scrollTo(0, 0)");
            scene.browser.screenshot(&folder().join(format!("top-{width}-{scheme}.png")));
            let wide = scene.browser.eval("document.documentElement.scrollWidth");
            assert!(wide.as_u64().unwrap() <= u64::from(width), "{wide} wide at {width}");
            scene
                .browser
                .eval("document.querySelector('.topics').scrollIntoView(); scrollBy(0, -60)");
            scene.browser.look(width, height, scheme);
            scene.browser.screenshot(&folder().join(format!("topics-{width}-{scheme}.png")));
        }
    }
    scene.browser.press("4");
    scene.browser.eval("document.getElementById('only').click(); scrollTo(0, 0)");
    scene
        .browser
        .until("!document.getElementById('journal-list').textContent.includes('fresh again')");
    scene
        .browser
        .until("document.getElementById('journal-list').textContent.includes('came twice')");
    for width in [390, 1280] {
        scene.browser.look(width, 844, "dark");
        scene.browser.eval("document.querySelector('.topics').scrollIntoView()");
        scene.browser.look(width, 844, "dark");
        scene.browser.screenshot(&folder().join(format!("unsynced-{width}-dark.png")));
    }
    scene.browser.press("6");
    scene.browser.eval("document.getElementById('sort').value = 'rate'; document.getElementById('sort').dispatchEvent(new Event('change'))");
    for width in [390, 1280] {
        scene.browser.look(width, 844, "light");
        scene.browser.screenshot(&folder().join(format!("fresh-{width}-light.png")));
    }
    assert_eq!(scene.browser.complaints, [""; 0]);
}

#[test]
#[cfg(feature = "nats")]
#[ignore = "needs chromium and nats-server: just page"]
fn a_broker_that_is_away_is_seen_within_two_seconds() {
    let mut server = crate::server::Server::start();
    let url = server.url_of("");
    let flags = ["--publish", url.as_str(), "--share", "gateway", "--share-lease", "1s"];
    let mut scene = Scene::new("published", 120, 60, "", &flags);
    scene.browser.look(1280, 900, "light");
    scene.open();
    scene.browser.until(HEALTHY);
    let broker = "document.getElementById('broker').textContent";
    scene.browser.until(&format!("{broker} === 'connected'"));
    let published = "document.getElementById('published').textContent";
    scene.browser.until(&format!("{published}.includes('shares2 of 2')"));
    scene.browser.until(&format!("/acknowledged[1-9]/.test({published})"));
    let shots = |browser: &mut Browser, name: &str| {
        for width in [390, 1280] {
            for scheme in ["light", "dark"] {
                browser.look(width, 844, scheme);
                browser.screenshot(&folder().join(format!("{name}-{width}-{scheme}.png")));
                let wide = browser.eval("document.documentElement.scrollWidth");
                assert!(wide.as_u64().unwrap() <= u64::from(width), "{wide} wide at {width}");
            }
        }
    };
    shots(&mut scene.browser, "published");
    server.kill();
    let took =
        scene.browser.until("document.getElementById('verdict').textContent === 'not healthy'");
    println!("a broker that is away was seen after {took:.1?}");
    assert!(took < Duration::from_secs(2), "{took:?}");
    scene.browser.until(&format!("{broker}.startsWith('away for ')"));
    scene.browser.until("document.getElementById('broker-why').textContent !== ''");
    scene.browser.until(&says("broker lost"));
    shots(&mut scene.browser, "away");
    server.restart();
    scene.browser.until(HEALTHY);
    scene.browser.until(&says("broker back"));
    assert_eq!(scene.browser.complaints, [""; 0]);
}

#[test]
#[ignore = "needs chromium: just page"]
fn a_name_is_text_whatever_it_says() {
    let long = "x".repeat(100_000);
    let names = [
        "<img src=x onerror=document.title='owned'>",
        "</script><script>document.title='owned'</script>",
        "\"' onmouseover='document.title=1",
        "javascript:document.title=1",
        "{nonce} &lt;&amp;",
        // What ends a line for some readers.
        "a\nevent: whole\ndata: {}\n\nb",
        "a\rb\u{2028}c\u{2029}d\u{85}e\0f\u{feff}",
        "\u{202e}drawkcab",
        "__proto__",
        // It is refused, and so in the list of what happened, too.
        "<b>bold</b>00",
        &long,
    ];
    let topics = names.map(str::to_owned);
    let mut scene = Scene::watched("names", &topics, 30, "", |file| Watched::run(file, &[]));
    scene.browser.look(1280, 900, "light");
    scene.open();
    scene.browser.until(HEALTHY);
    scene.browser.until("document.querySelectorAll('.topic:not(.hidden)').length === 11");
    scene.browser.until(&says("<b>bold</b>00"));
    let shown = "JSON.stringify([...document.querySelectorAll('.topic:not(.hidden) .name')].map(it => it.firstChild.data).sort())";
    let shown: Vec<String> =
        serde_json::from_str(scene.browser.eval(shown).as_str().unwrap()).unwrap();
    let mut expected: Vec<String> =
        names.iter().map(|name| name.chars().take(200).collect()).collect();
    expected.sort();
    assert_eq!(shown, expected);
    let made = "document.querySelectorAll('img, b:not(.chip b), script:not([nonce]), [onmouseover], a').length";
    assert_eq!(scene.browser.eval(made), 0);
    let title = scene.browser.eval("document.title");
    assert_eq!(title, "● venue");
    let wide = scene.browser.eval("document.documentElement.scrollWidth");
    assert_eq!(wide, 1280);
    assert_eq!(scene.browser.complaints, [""; 0]);
}

#[test]
#[ignore = "needs chromium: just page"]
fn the_keyboard_is_enough() {
    let mut scene = Scene::new("keyboard", 300, 300, "", &[]);
    scene.browser.look(1280, 900, "dark");
    scene.open();
    scene.browser.until(HEALTHY);
    scene.browser.until("document.querySelectorAll('.topic:not(.hidden)').length > 5");
    scene.browser.press("/");
    "sym.0042".chars().for_each(|key| scene.browser.press(&key.to_string()));
    let shown = "[...document.querySelectorAll('.topic:not(.hidden) .name')].map(it => it.firstChild.data).join()";
    scene.browser.until(&format!("{shown} === 'trade.SYM.0042'"));
    scene.browser.press("Enter");
    scene.browser.until("document.querySelectorAll('.topic.here').length === 1 && document.activeElement.id === 'list'");
    scene.browser.press("Escape");
    scene.browser.until("document.getElementById('list').getAttribute('aria-rowcount') === '300'");
    // Those that were refused.
    scene.browser.press("2");
    scene.browser.until("document.getElementById('list').getAttribute('aria-rowcount') === '3'");
    scene.browser.press("j");
    scene.browser.press("j");
    scene
        .browser
        .until("document.querySelector('.topic.here')?.getAttribute('aria-rowindex') === '2'");
    assert_eq!(scene.verdict(), "healthy");
    assert_eq!(scene.browser.complaints, [""; 0]);
}

#[test]
#[ignore = "needs chromium: just page"]
fn a_token_is_asked_for_and_kept_for_the_tab() {
    let folder = Folder::new();
    let token = folder.write("token", "a-token-of-the-test\n");
    let mut scene = Scene::new("token", 3, 3, "", &["--serve-token-file", &token]);
    scene.open();
    let is_asked = "!document.getElementById('ask').classList.contains('hidden')";
    scene.browser.until(is_asked);
    for (given, next) in [
        ("wrong", "!document.getElementById('ask-wrong').classList.contains('hidden')"),
        ("a-token-of-the-test", HEALTHY),
    ] {
        scene.browser.until(&format!("{is_asked} && document.activeElement.id === 'token'"));
        scene.browser.eval(&format!("document.getElementById('token').value = '{given}'; document.querySelector('#ask button').click()"));
        scene.browser.until(next);
    }
    scene.open();
    scene.browser.until(HEALTHY);
}

#[test]
#[ignore = "needs chromium: just page"]
fn five_thousand_topics_are_drawn_without_a_stutter() {
    let mut scene = Scene::new("many", 5000, 200, "", &[]);
    scene.browser.look(1280, 900, "light");
    scene
        .watched
        .until("/status", |reply| reply.json()["topics"]["confirmed"].as_u64().unwrap() > 4900);
    // The best of several: a machine may be busy.
    let paint = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? -1";
    let paints: Vec<f64> = (0..5)
        .map(|_| {
            scene.open();
            scene.browser.until(&format!("({paint}) > 0"));
            scene.browser.eval(paint).as_f64().unwrap()
        })
        .collect();
    println!("first paint after {paints:.0?} ms");
    assert!(paints.iter().any(|paint| *paint < 300.0), "{paints:?}");
    scene.browser.until(HEALTHY);
    let stutter = "new Promise(done => {
        const long = [];
        new PerformanceObserver(list => long.push(...list.getEntries().map(it => it.duration))).observe({ entryTypes: ['longtask'] });
        let last = performance.now(), worst = 0, frames = 0;
        const start = last, end = start + 6000;
        const step = now => {
            frames++; worst = Math.max(worst, now - last); last = now;
            scrollTo(0, (now - start) / 6000 * document.documentElement.scrollHeight);
            if (now < end) requestAnimationFrame(step); else done({ frames, worst, long });
        };
        requestAnimationFrame(step);
    })";
    let seen = scene.browser.eval(stutter);
    println!("scrolled through 5,000 topics in 6 s: {seen}");
    assert!(seen["frames"].as_u64().unwrap() > 150, "{seen}");
    let (without, with) = scene.load_of_pages();
    println!("{without:.1} % of a core without a page, {with:.1} % with three");
    // A build without optimisation takes several times as long.
    let most = if cfg!(debug_assertions) { 6.0 } else { 2.0 };
    assert!(with - without < most, "{without} {with}");
    assert_eq!(scene.browser.complaints, [""; 0]);
}

impl Scene {
    /// Returns how much of a core the process takes without a page and with three, in percent.
    fn load_of_pages(&mut self) -> (f64, f64) {
        self.browser.open("about:blank#");
        let without = self.load();
        let pages: Vec<_> = (0..3).map(|_| self.watched.events()).collect();
        for mut page in pages {
            std::thread::spawn(move || std::io::copy(&mut page, &mut std::io::sink()));
        }
        (without, self.load())
    }

    /// Returns how much of a core the process takes in the next seconds, in percent.
    fn load(&self) -> f64 {
        const TIME: Duration = Duration::from_secs(8);
        let (start, before) = (Instant::now(), self.watched.wsup.cpu());
        std::thread::sleep(TIME);
        (self.watched.wsup.cpu() - before).as_secs_f64() / start.elapsed().as_secs_f64() * 100.0
    }
}
