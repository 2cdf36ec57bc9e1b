# What is run on this house, by hand and by .ci/run. `just --list` shows it.

set shell := ["bash", "-euo", "pipefail", "-c"]
set ignore-comments

# The features of the library that its documentation shows. Not `--all-features`: one of them brings in
# a TLS provider that is minutes of C.
features := "testing,webpki-roots,encrypted-keys"

# All that needs neither root nor another language
check: fmt clippy test first-build bare docs deny

# Formatting, without changing anything
fmt:
    cargo fmt --all --check

# Lints, over everything there is, and over what a user gets by default
clippy:
    cargo clippy --locked --workspace --all-targets -- -D warnings
    cargo clippy --locked -p actix-ws-client --lib -- -D warnings

# The library with its other TLS provider, whose C takes minutes, and with none
providers:
    cargo clippy --locked -p actix-ws-client --no-default-features --features client,aws-lc-rs,deflate --lib -- -D warnings
    cargo clippy --locked -p actix-ws-client --features aws-lc-rs --lib -- -D warnings
    cargo clippy --locked -p actix-ws-client --no-default-features --features client --lib -- -D warnings

# Tests and documentation examples
test:
    cargo test --locked --workspace

# At most 170 crates are compiled for a newcomer's first `cargo run --example market_feed`
first-build:
    # Of what is built already cargo reports the artifacts too.
    count=$(cargo build --locked --example market_feed --message-format json \
        | grep -o '"reason":"compiler-artifact","package_id":"[^"]*"' | sort -u | wc -l); \
    echo "$count crates"; ((0 < count && count <= 170))

# Floor 1 alone: what `--no-default-features` leaves, and that nothing of the rest comes with it
bare:
    cargo clippy --locked -p actix-ws-client --no-default-features --lib -- -D warnings
    cargo clippy --locked -p actix-ws-client --no-default-features --features deflate --lib -- -D warnings
    tree=$(cargo tree --locked -p actix-ws-client --no-default-features -e normal --prefix none); \
    ! grep -E '^(actix|awc|rustls|tokio)' <<<"$tree" | grep -v '^actix-ws-client '
    # The package is its own dev-dependency, which turns `client` on again in every test build:
    # so its unit tests are built from a manifest without that, and without the workspace's members.
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

# Documentation, where every link must lead somewhere
docs:
    RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps -p actix-ws-client --features {{ features }}
    RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps -p wsup

# Licences, sources and banned crates
deny:
    cargo deny --locked --workspace check bans licenses sources

# Known vulnerabilities; needs the network
advisories:
    cargo deny --locked --workspace check advisories

# The Autobahn suite against the example `autobahn`: every core case. Needs CPython 2.7
autobahn:
    tests/autobahn/run core

# The Autobahn suite's compression, the 72 cases that take little time
autobahn-deflate:
    tests/autobahn/run deflate

# The whole Autobahn suite, 517 cases in 12 to 20 minutes
autobahn-full:
    tests/autobahn/run full

# Servers, proxies and certificates by other hands; installs them, so needs root and the network
interop *SCRIPTS="proxies nginx haproxy certificates conversations deflate":
    failed=0; for script in {{ SCRIPTS }}; do "tests/interop/$script" || failed=1; done; exit $failed

# Tests that need root or tools that cargo can't bring
lab:
    cargo test --locked --workspace --no-fail-fast --tests -- --ignored --test-threads=1

# Seeded faults in simulated time, each seed in a process of its own
simulate SEEDS="60":
    SIMULATION_SEEDS={{ SEEDS }} cargo test --locked --release -p simulation -- --nocapture

# Each fuzz target for so many seconds; needs nightly and cargo-fuzz
fuzz SECONDS="30":
    for target in decode inflate round_trip; do \
        cargo +nightly fuzz run "$target" -- -max_total_time={{ SECONDS }}; \
    done

# Instructions for each message against benches/instructions/baseline.json; needs valgrind and gungraun-runner
instructions *ARGS:
    cargo bench --locked -p instructions -- {{ ARGS }}

# Makes the counts of today the baseline. The commit says what rose, by how much, and why
instructions-accept: (instructions "--accept")

# Every client beside ours, see docs/performance.md: half an hour, or minutes with --quick
bench *ARGS:
    cargo run --release --manifest-path benches/peers/Cargo.toml -- {{ ARGS }}

# The benchmarks themselves: formatting, lints and tests of their package
bench-check:
    cargo fmt --check --manifest-path benches/peers/Cargo.toml
    cargo clippy --locked --all-targets --manifest-path benches/peers/Cargo.toml -- -D warnings
    cargo test --locked --release --manifest-path benches/peers/Cargo.toml

# Every example to its end
examples:
    cargo build --locked --examples
    timeout 60 cargo run --locked --quiet --example echo
    for example in reconnect custom_backoff tls proxy prepared_socket actix_web testing; do \
        timeout 60 cargo run --locked --quiet --example "$example"; \
    done
    timeout 60 cargo run --locked --quiet --example market_feed -- --duration 5s
