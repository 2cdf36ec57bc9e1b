# The checks of this repository, for use by hand and by .ci/run. `just --list` lists them.

set shell := ["bash", "-euo", "pipefail", "-c"]
set ignore-comments

# The features of the library that its documentation shows. Not `--all-features`: one of them brings in
# a TLS provider that is minutes of C.
features := "testing,webpki-roots,encrypted-keys,serde,record,metrics,nats"

# Every check that needs neither root nor another language
check: fmt clippy test first-build bare docs crates deny

# Formatting; changes nothing
fmt:
    cargo fmt --all --check

# Lints of all packages, and of the library with its default features
clippy:
    cargo clippy --locked --workspace --all-targets -- -D warnings
    cargo clippy --locked -p actix-ws-client --lib -- -D warnings
    cargo clippy --locked -p wsup --no-default-features -- -D warnings

# The page of `wsup feed --serve` in Chromium, with nats-server for what is published; its screenshots are in target/tmp/page/
page:
    cargo test --locked -p wsup --test page -- --ignored --test-threads=1 --nocapture

# Publishing and sharing on NATS JetStream against nats-server, in NATS_SERVER or on the PATH
nats:
    cargo test --locked --workspace --lib --test nats_shares -- --ignored --test-threads=1 --skip throughput
    cargo test --locked -p wsup --test feed -- --ignored --test-threads=1

# How many messages a second are published on a nats-server and acknowledged
nats-throughput:
    cargo test --locked --release -p actix-ws-client --features nats --lib -- --ignored --nocapture nats::tests::throughput

# Three `wsup feed` on three nodes of nats-server: what is lost, doubled or late when any of them fails. Needs nats-server
cluster *ARGS:
    cargo test --locked -p wsup --test cluster -- --ignored --test-threads=1 --nocapture {{ ARGS }}

# Lints of the library with the TLS provider aws-lc-rs, whose C takes minutes to build, and without one
providers:
    cargo clippy --locked -p actix-ws-client --no-default-features --features client,aws-lc-rs,deflate --lib -- -D warnings
    cargo clippy --locked -p actix-ws-client --features aws-lc-rs --lib -- -D warnings
    cargo clippy --locked -p actix-ws-client --no-default-features --features client --lib -- -D warnings

# Tests and documentation examples
test:
    cargo test --locked --workspace

# At most 170 crates are compiled for a newcomer's first `cargo run --example market_feed`
first-build:
    # cargo reports the artifacts that are already built too.
    count=$(cargo build --locked --example market_feed --message-format json \
        | grep -o '"reason":"compiler-artifact","package_id":"[^"]*"' | sort -u | wc -l); \
    echo "$count crates"; ((0 < count && count <= 170))

# Floor 1 alone: its lints and tests with `--no-default-features`, and that it depends on no actix, awc, rustls or tokio
bare:
    cargo clippy --locked -p actix-ws-client --no-default-features --lib -- -D warnings
    cargo clippy --locked -p actix-ws-client --no-default-features --features deflate --lib -- -D warnings
    tree=$(cargo tree --locked -p actix-ws-client --no-default-features -e normal --prefix none); \
    ! grep -E '^(actix|awc|rustls|tokio)' <<<"$tree" | grep -v '^actix-ws-client '
    # The package is its own dev-dependency, which turns `client` on in every test build. So the unit
    # tests are built from a copy of the manifest without that and without the workspace's members.
    mkdir -p target/bare
    ln -sfn ../../src target/bare/src
    cp Cargo.lock target/bare/
    sed -e '/^\[dev-dependencies\]/,/^\[/ { /^proptest/b; /^[a-z]/d }' -e '/^\[\[bench\]\]/,/^$/d' \
        -e '/^members = \[$/,/^\]$/d' -e '/^default-members = /d' -e '/^exclude = /d' \
        Cargo.toml >target/bare/Cargo.toml
    for features in "" deflate; do \
        cargo test --offline --manifest-path target/bare/Cargo.toml --target-dir target --no-default-features \
            --features "$features" --lib; \
    done

# Documentation; a broken link is an error
docs:
    RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps -p actix-ws-client --features {{ features }}
    RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps -p wsup

# Licences, sources and banned crates
deny:
    cargo deny --locked --workspace check bans licenses sources

# Known vulnerabilities of dependencies; needs the network. Second, those of the library without `backoff`: h2 by awc alone
advisories:
    cargo deny --locked --workspace check advisories
    cargo deny --locked --manifest-path Cargo.toml --config .ci/deny-lean.toml --exclude-dev \
        --no-default-features --features client,ring,deflate check advisories

# How many crates the library is built of, which the README says: at most 155, and 145 without `backoff`
crates:
    tree() { cargo tree --locked -e normal --prefix none --no-dedupe "$@" | sort -u; }; \
    lean="--no-default-features --features client,ring,deflate"; \
    says() { echo "$2: $1"; grep -qF "| $2 | $1 |" README.md || { echo "README.md says something else"; exit 1; }; }; \
    default=$(tree -p actix-ws-client | wc -l); ((default <= 155)); \
    small=$(tree -p actix-ws-client $lean | wc -l); ((small <= 145)); \
    says "$default" "the default features"; \
    says "$small" "without \`backoff\`: \`client\`, \`ring\`, \`deflate\`"; \
    says "$(tree -p actix-ws-client --no-default-features --features client,ring | wc -l)" "the least with \`wss\`: \`client\`, \`ring\`"; \
    says "$(tree -p actix-ws-client --no-default-features | wc -l)" "no feature: the protocol alone"; \
    web() { { tree -p actix; cargo tree --locked -p example-actix-web -e normal,dev --prefix depth --no-dedupe \
        | awk '/^1[a-z]/ { on = /^1actix-web v/ } on { sub(/^[0-9]+/, ""); print }'; } | sort -u; }; \
    says "$(comm -23 <(tree -p actix-ws-client) <(web) | wc -l)" "the default features, on top of actix and actix-web"; \
    says "$(comm -23 <(tree -p actix-ws-client $lean) <(web) | wc -l)" "without \`backoff\`, on top of actix and actix-web"

# The Autobahn suite against the example `autobahn`: every core case. Needs CPython 2.7
autobahn:
    tests/autobahn/run core

# The Autobahn suite's compression, the 72 cases that take little time
autobahn-deflate:
    tests/autobahn/run deflate

# The whole Autobahn suite, 517 cases in 12 to 20 minutes
autobahn-full:
    tests/autobahn/run full

# Servers, proxies and certificates of other projects; installs them, so needs root and the network
interop *SCRIPTS="proxies nginx haproxy certificates conversations deflate names recording differential":
    failed=0; for script in {{ SCRIPTS }}; do "tests/interop/$script" || failed=1; done; exit $failed

# Tests that need root or tools that cargo cannot install
lab:
    cargo test --locked -p wsup --test lab -- --ignored --test-threads=1

# Seeded faults in simulated time, with a process for each seed
simulate SEEDS="60": && (replay "2000")
    SIMULATION_SEEDS={{ SEEDS }} cargo test --locked --release -p simulation -- --nocapture
    # A million steps of the lines of a feed; it says how many
    PROPTEST_CASES=5000 cargo test --locked --release --features record --lib feed::merge -- --nocapture

# Random feeds in simulated time that are recorded and replayed, with the seeds from SEED on: their handlers get the same
replay RUNS="10000" SEED="0":
    REPLAY_RUNS={{ RUNS }} REPLAY_SEED={{ SEED }} cargo test --locked --release --features record --test replay -- --nocapture

# Sockets that come and go over TLS and through a proxy, for SECONDS and at least 10,000 a minute: what they leave behind
soak SECONDS="60":
    SOAK_SECONDS={{ SECONDS }} cargo test --locked --test soak -- --nocapture

# A feed on two lines at 20,000 messages a second, with a fault every 10 s: what it loses, doubles and leaves behind
soak-feed SECONDS="180":
    SOAK_SECONDS={{ SECONDS }} cargo test --locked --test soak_feed -- --nocapture

# A feed of 1,000 lines on two threads, 100 messages a second on each: what it loses
soak-lines SECONDS="300":
    SOAK_SECONDS={{ SECONDS }} SOAK_LINES=1000 cargo test --locked --test soak_lines -- --nocapture

# Each fuzz target for SECONDS; needs nightly and cargo-fuzz
fuzz SECONDS="30":
    for target in cookie_date decode heads inflate round_trip; do \
        cargo +nightly fuzz run "$target" -- -max_total_time={{ SECONDS }}; \
    done

# Fails if no unit test notices a mutation of what the last commit touched, or of what differs from BASE; stops after four minutes; needs cargo-mutants
mutants BASE="HEAD^":
    .ci/mutants {{ BASE }}

# Incremental builds are placed and inlined otherwise: a sent message takes 6 to 12 % more instructions in one.
# Instructions for each message against benches/instructions/baseline.json and feeds.json; needs valgrind and gungraun-runner
instructions *ARGS:
    CARGO_INCREMENTAL=0 cargo bench --locked --no-fail-fast -p instructions -- {{ ARGS }}

# Writes the current counts as the baseline. The commit message says what rose, by how much, and why
instructions-accept: (instructions "--accept")

# Benchmarks of this and other clients, see docs/performance.md: half an hour, or minutes with --quick
bench *ARGS:
    cargo run --release --manifest-path benches/peers/Cargo.toml -- {{ ARGS }}

# Formatting, lints and tests of the benchmarks' package
bench-check:
    cargo fmt --check --manifest-path benches/peers/Cargo.toml
    cargo clippy --locked --all-targets --manifest-path benches/peers/Cargo.toml -- -D warnings
    cargo test --locked --release --manifest-path benches/peers/Cargo.toml

# Runs every example until it ends
examples:
    cargo build --locked --examples
    timeout 60 cargo run --locked --quiet --example echo
    for example in closures authorized reconnect custom_backoff tls proxy prepared_socket actix_web testing \
        tokio_main blocking send_a_million; do \
        timeout 60 cargo run --locked --quiet --example "$example"; \
    done
    timeout --preserve-status 3 cargo run --locked --quiet --example every_five_seconds
    timeout 60 cargo run --locked --quiet --example market_feed -- --duration 5s
    # They bring a server by another hand, and browsers: not built with the others.
    cargo build --locked -p example-json-rpc --example json_rpc
    timeout 60 cargo run --locked --quiet -p example-json-rpc --example json_rpc
    timeout 120 cargo test --locked --quiet -p example-relay
