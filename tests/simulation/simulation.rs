//! A property over random server scripts in simulated time: whatever befalls its sockets, a
//! connection tells every handler the same whole story.
//!
//! One seed a process: in a second run the thread's state would be another. The test starts its own
//! executable once for each seed; the same seed gives the same events at the same times.
//!
//! | variable | what it does |
//! |---|---|
//! | `SIMULATION_SEEDS` | how many seeds are run; by default few, and nothing is demanded of their sum |
//! | `SIMULATION_SEED` | runs this one seed in this process |
//! | `SIMULATION_HISTORY` | adds whole histories to what is told of a failure |
//! | `RUST_LOG` | the crate's log, and turmoil's, of a seed that is run in this process |

use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use faults::Fault;
use ledger::{Action, Ledger};
use report::Counts;
use server::{CLIENT, host};
use tracing_subscriber::EnvFilter;

mod client;
mod faults;
mod ledger;
mod model;
mod report;
mod server;

/// Servers in one simulation, each with one connection at a time.
const SERVERS: usize = 3;

/// Connections to each server, one after another.
const LIVES: u32 = 3;

/// What the network's clock moves by. Timers are exact within it.
const TICK: Duration = Duration::from_millis(5);

/// Seeds without `SIMULATION_SEEDS`.
const FEW: u64 = 2;

/// What all seeds together must come to where `SIMULATION_SEEDS` says how many they are.
const FAULTS: u64 = 2_000;
const OF_EACH: u64 = 150;
const MESSAGES: u64 = 100_000;

#[test]
fn every_handler_is_told_the_whole_story_under_any_fault() {
    if let Some(seed) = number("SIMULATION_SEED") {
        return simulate(seed);
    }
    let _turn = TURN.lock();
    let asked = number("SIMULATION_SEEDS");
    let seeds = asked.unwrap_or(FEW);
    let begin = Instant::now();
    let next = AtomicU64::new(1);
    let total = Mutex::new(Counts::default());
    let failures = Mutex::new(Vec::new());
    let several = std::thread::available_parallelism().map_or(1, |cores| cores.get());
    std::thread::scope(|scope| {
        for _ in 0..several {
            scope.spawn(|| {
                while let Some(seed) = Some(next.fetch_add(1, Relaxed)).filter(|it| *it <= seeds) {
                    match run(seed) {
                        Ok(counts) => total.lock().unwrap().add(&counts),
                        Err(told) => failures.lock().unwrap().push(told),
                    }
                }
            });
        }
    });
    let total = total.into_inner().unwrap();
    println!("\n{seeds} seeds in {:.1?}\n{total}", begin.elapsed());
    let failures = failures.into_inner().unwrap();
    assert!(
        failures.is_empty(),
        "{} of {seeds} seeds failed:\n{}",
        failures.len(),
        failures.join("\n")
    );
    if asked.is_some() {
        assert!(total.all_faults() >= FAULTS, "fewer than {FAULTS} faults");
        assert!(total.messages >= MESSAGES, "fewer than {MESSAGES} messages");
        for (fault, count) in Fault::ALL.iter().zip(total.faults) {
            assert!(count >= OF_EACH, "fewer than {OF_EACH} of {}", fault.name());
        }
    }
}

#[test]
fn a_seed_gives_the_same_events_at_the_same_times() {
    if number("SIMULATION_SEED").is_some() {
        return;
    }
    let _turn = TURN.lock();
    assert_eq!(run(0), run(0));
}

/// Held while processes run: no more of them than there are cores.
static TURN: Mutex<()> = Mutex::new(());

fn number(variable: &str) -> Option<u64> {
    let value = std::env::var(variable).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{variable} is no number: {value}")))
}

/// Runs one seed in a process of its own.
///
/// # Errors
/// The seed, the command that runs it again, and what it told.
fn run(seed: u64) -> Result<Counts, String> {
    let exe = std::env::current_exe().expect("this test has a path");
    let output = Command::new(exe)
        .args(["--exact", "every_handler_is_told_the_whole_story_under_any_fault", "--nocapture"])
        .env("SIMULATION_SEED", seed.to_string())
        .env_remove("RUST_BACKTRACE")
        .output()
        .expect("this test can start itself");
    let told = String::from_utf8_lossy(&output.stdout);
    let counts = Counts::parse(&told).filter(|_| output.status.success());
    counts.ok_or_else(|| {
        let release = if cfg!(debug_assertions) { "" } else { "--release " };
        format!(
            "seed {seed}; again: SIMULATION_SEED={seed} cargo test {release}-p simulation -- \
             --nocapture\n{told}{}",
            String::from_utf8_lossy(&output.stderr)
        )
    })
}

/// Runs one seed here, and panics with all that was wrong.
fn simulate(seed: u64) {
    static PANICKED: AtomicBool = AtomicBool::new(false);
    // A panic inside a task ends only that.
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        PANICKED.store(true, Relaxed);
        hook(info);
    }));
    // Simulated time stands still where something spins.
    std::thread::spawn(|| {
        std::thread::sleep(Duration::from_secs(300));
        eprintln!("the simulation does not end");
        std::process::exit(1);
    });
    tracing_subscriber::fmt().with_env_filter(EnvFilter::from_default_env()).init();
    let ledger = Ledger::new(seed, SERVERS);
    let seconds = drive(seed, &ledger);
    let mut book = ledger.book();
    book.counts.seconds = seconds;
    println!("{}", book.counts.line());
    let wrong = std::mem::take(&mut book.wrong);
    assert!(
        wrong.is_empty(),
        "seed {seed}: {} things are wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    assert!(!PANICKED.load(Relaxed), "seed {seed}: something panicked");
}

/// Builds the world of a seed, and moves its time on until every connection has come to its end.
fn drive(seed: u64, ledger: &Ledger) -> u64 {
    let mut sim = turmoil::Builder::new()
        .rng_seed(seed)
        .simulation_duration(Duration::from_secs(24 * 3_600))
        .tick_duration(TICK)
        .tcp_capacity(256)
        .max_message_latency(Duration::from_millis(40))
        .build();
    for server in 0..SERVERS {
        let ledger = ledger.clone();
        sim.host(host(server), move || server::serve(server, ledger.clone()));
    }
    let clients = ledger.clone();
    sim.client(CLIENT, async move {
        let all: Vec<_> = (0..SERVERS)
            .map(|server| {
                tokio::task::spawn_local(client::lives(seed, server, LIVES, clients.clone()))
            })
            .collect();
        for one in all {
            one.await?;
        }
        Ok(())
    });
    while !sim.step().expect("the simulation goes on") {
        for action in ledger.due(sim.elapsed()) {
            act(&mut sim, action, ledger);
        }
    }
    sim.elapsed().as_secs()
}

fn act(sim: &mut turmoil::Sim<'_>, action: Action, ledger: &Ledger) {
    match action {
        Action::Repair(server) => sim.repair(CLIENT, host(server)),
        Action::Release(server) => sim.release(CLIENT, host(server)),
        Action::Bounce(server) => sim.bounce(host(server)),
        Action::Crash { server, lasts, power } => {
            if power {
                // Nothing of what the host still says gets out.
                sim.partition(CLIENT, host(server));
            }
            sim.crash(host(server));
            if power {
                sim.repair(CLIENT, host(server));
            }
            let back = sim.elapsed() + lasts;
            ledger.book().actions.push((back, Action::Bounce(server)));
            return;
        }
    }
    let (Action::Repair(server) | Action::Release(server) | Action::Bounce(server)) = action else {
        return;
    };
    ledger.book().servers[server].busy = false;
}
