//! The ten faults, and the scripts that a server plays for one connection each.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};

/// What can befall a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The link drops every segment, also those under way, and heals after a while.
    Partition,
    /// The link keeps every segment, and lets go of them after a while.
    Hold,
    /// The server's host dies and comes back: with a FIN, or without as in a power cut.
    Crash,
    /// The server drops the socket with bytes unread, which resets it.
    Reset,
    /// The server ends the stream between two frames.
    Fin,
    /// The server ends the stream inside a frame.
    HalfFrame,
    /// The server answers the upgrade with a status that may pass.
    Refusal,
    /// The server does not answer the upgrade, or not to its end.
    StalledHandshake,
    /// The client begins to close, and the server never answers.
    UnansweredClose,
    /// The server closes with a code after which a client comes back.
    CloseByCode,
}

impl Fault {
    pub(crate) const ALL: [Fault; 10] = [
        Fault::Partition,
        Fault::Hold,
        Fault::Crash,
        Fault::Reset,
        Fault::Fin,
        Fault::HalfFrame,
        Fault::Refusal,
        Fault::StalledHandshake,
        Fault::UnansweredClose,
        Fault::CloseByCode,
    ];

    /// The words for it in the table.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Fault::Partition => "partition",
            Fault::Hold => "hold",
            Fault::Crash => "crash",
            Fault::Reset => "RST",
            Fault::Fin => "FIN",
            Fault::HalfFrame => "half a frame",
            Fault::Refusal => "refusal",
            Fault::StalledHandshake => "stalled handshake",
            Fault::UnansweredClose => "unanswered close",
            Fault::CloseByCode => "close by code",
        }
    }

    /// Whether the fault is one of the link or the host, which the session may survive.
    pub(crate) fn is_of_the_network(self) -> bool {
        matches!(self, Fault::Partition | Fault::Hold | Fault::Crash)
    }
}

/// The codes after which a client comes back; `None` is an empty Close frame.
const CODES: &[Option<u16>] = &[
    None,
    Some(1000),
    Some(1001),
    Some(1011),
    Some(1012),
    Some(1013),
    Some(1014),
    Some(3000),
    Some(4999),
];

/// What the server does with one accepted connection.
#[derive(Debug)]
pub(crate) struct Script {
    pub(crate) greeting: Greeting,
    /// Played once the socket is open.
    pub(crate) steps: Vec<Step>,
    /// For what is decided while the script is played.
    pub(crate) rng: StdRng,
}

/// How the server answers the upgrade.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Greeting {
    /// With 101.
    Open,
    /// With another status.
    Refuse { status: u16, retry_after: Option<u64>, body: Body },
    /// Not at all, or not to the end.
    Stall { reads: bool, answers: &'static str },
}

/// The body of a refusal.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Body {
    None,
    Whole,
    /// Less of it than its length says.
    Cut,
    Chunked,
}

/// One thing that the server does on an open socket.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Step {
    /// Sends so many messages, some in one write, with this much time between two writes.
    Send { messages: u32, gap: Duration },
    /// Says nothing of itself.
    Quiet(Duration),
    /// Sends a Ping.
    Ping,
    /// Partition, hold or crash: from now on, for so long.
    Network { fault: Fault, lasts: Duration, power: bool },
    /// Ends the session in this way.
    End(Fault),
    /// Closes with this code.
    Close(Option<u16>),
}

impl Script {
    /// The next script of a server.
    pub(crate) fn draw(source: &mut StdRng) -> Script {
        let mut rng = StdRng::seed_from_u64(source.random());
        let fault = *Fault::ALL.choose(&mut rng).expect("there are ten");
        let greeting = match fault {
            Fault::Refusal => refusal(&mut rng),
            Fault::StalledHandshake => stall(&mut rng),
            _ => Greeting::Open,
        };
        let mut steps = Vec::new();
        chatter(&mut steps, &mut rng);
        if fault.is_of_the_network() {
            let lasts = millis(&mut rng, 200, 9_000);
            steps.push(Step::Network { fault, lasts, power: rng.random() });
            chatter(&mut steps, &mut rng);
        }
        // What follows a fault of the network is played if the session has survived it.
        steps.push(end(fault, &mut rng));
        Script { greeting, steps, rng }
    }
}

/// A few steps of plain traffic.
fn chatter(steps: &mut Vec<Step>, rng: &mut StdRng) {
    for _ in 0..rng.random_range(0..=3) {
        steps.push(match rng.random_range(0..10) {
            0..=5 => {
                let messages = rng.random_range(1..=60);
                let most = [20, 60, 200][rng.random_range(0..3)];
                Step::Send { messages, gap: millis(rng, 1, most) }
            }
            6..=7 => Step::Quiet(millis(rng, 10, 4_000)),
            _ => Step::Ping,
        });
    }
}

fn end(fault: Fault, rng: &mut StdRng) -> Step {
    let ends =
        [Fault::Reset, Fault::Fin, Fault::HalfFrame, Fault::UnansweredClose, Fault::CloseByCode];
    let end = if ends.contains(&fault) { fault } else { *ends.choose(rng).expect("five") };
    match end {
        Fault::CloseByCode => Step::Close(*CODES.choose(rng).expect("nine")),
        end => Step::End(end),
    }
}

fn refusal(rng: &mut StdRng) -> Greeting {
    Greeting::Refuse {
        status: [503, 503, 429, 500, 502, 408][rng.random_range(0..6)],
        retry_after: rng.random_bool(0.5).then(|| rng.random_range(0..=5)),
        body: [Body::None, Body::Whole, Body::Cut, Body::Chunked][rng.random_range(0..4)],
    }
}

fn stall(rng: &mut StdRng) -> Greeting {
    let answers = ["", "", "HTTP/1.1 101 Swi", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: w"];
    Greeting::Stall { reads: rng.random(), answers: answers[rng.random_range(0..4)] }
}

fn millis(rng: &mut StdRng, least: u64, most: u64) -> Duration {
    Duration::from_millis(rng.random_range(least..=most))
}
