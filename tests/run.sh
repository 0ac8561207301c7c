#!/usr/bin/env bash
# The one command that sets everything up and runs every test. docs/decisions/one-test-command.md says why it is made so.
#
#   tests/run.sh          everything
#   tests/run.sh quick    format, lints, unit and integration tests on both databases
#   tests/run.sh bench [PART...]   no tests, but what clawhand costs; benches/limits/main.rs names the parts
#
# CARGO                  the cargo to call (default: cargo)
# CLAWHAND_TEST_CACHE    where downloaded tools are kept between runs (default: target/test-cache)
# CI=true                leaving a part out is a failure
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 2

case "${1:-all}" in
all | quick | bench) MODE=${1:-all} ;;
*)
    sed -n '2,10s/^# \{0,1\}//p' tests/run.sh >&2
    exit 2
    ;;
esac

CARGO=${CARGO:-cargo}
CACHE=${CLAWHAND_TEST_CACHE:-$PWD/target/test-cache}
LOGS=$PWD/target/test-logs
mkdir -p "$CACHE" "$LOGS"
rm -f "$LOGS"/*.log
CACHE=$(cd "$CACHE" && pwd)

source tests/run/stages.sh
source tests/run/tools.sh
source tests/run/servers.sh
source tests/run/clients.sh
source tests/run/images.sh
source tests/run/docker.sh
source tests/run/podman.sh
source tests/run/kubernetes.sh
source tests/run/ssh.sh
source tests/run/openclaw.sh
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# What rustc does in a fresh clone is thrown away afterwards: incremental state would only cost time and space.
[ "${CI:-}" = true ] && export CARGO_INCREMENTAL=0
export CARGO_TERM_COLOR=never

if ! command -v "$CARGO" >/dev/null; then
    leave_out "everything" "there is no cargo; install Rust first"
    FAILED=$((FAILED + 1))
    exit
fi
install_packages
if [ "$MODE" = bench ]; then
    shift
    wanted() { [ -z "$PARTS" ] || [[ " $PARTS " == *" $1 "* ]]; }
    PARTS=$*
    if wanted kubernetes; then prepare_kubernetes; fi
    if wanted openclaw; then find_peer; fi
    if wanted ssh; then start_ssh; fi
    if wanted docker || wanted kubernetes; then start_docker; fi
    if wanted kubernetes; then start_kubernetes; fi
    if "$CARGO" bench --locked --bench limits -- "$@"; then PASSED=1; else FAILED=$((FAILED + 1)); fi
    exit
fi
if [ "$MODE" = all ]; then
    prepare_clients
    prepare_kubernetes
    prepare_openclaw
fi
start_postgres
start_s3

if "$CARGO" fmt --version >/dev/null 2>&1; then
    check format "$CARGO" fmt --check
else
    leave_out format "cargo has no fmt; rustup component add rustfmt"
fi
# Plain is what ships; with all features is what the conformance suite runs. Both build the same dependencies but one.
if "$CARGO" clippy --version >/dev/null 2>&1; then
    check clippy "$CARGO" clippy --locked --all-targets -- -D warnings
    check clippy-all-features "$CARGO" clippy --locked --all-targets --all-features -- -D warnings
else
    leave_out clippy "cargo has no clippy; rustup component add clippy"
fi
if [ "$MODE" = all ]; then
    check_dependencies
    RUSTDOCFLAGS="-D warnings" check doc "$CARGO" doc --locked --no-deps --document-private-items
fi
# The clients drive the very program that the tests drive. `cargo build` would make another one: without the features that
# the tests' dependencies ask for, half of the dependencies are compiled again.
check build "$CARGO" test --locked --no-run
[ "$RC" = 0 ] || exit
[ "$MODE" = all ] && keep_program clawhand
# Kinds of executors have suites of their own, so that one system at a time takes up the machine.
suite test "$CARGO" test --locked --no-fail-fast -- --skip real_tools --skip docker --skip kubernetes --skip ssh \
    --skip openclaw::
if [ "$MODE" = all ]; then
    if CLAWHAND_TEST_WHEELS=$(wheels 2>"$LOGS/wheels.log"); then export CLAWHAND_TEST_WHEELS; fi
    start_ssh
    [ -n "${CLAWHAND_TEST_SSH:-}" ] && suite ssh "$CARGO" test --locked --no-fail-fast --test it -- ssh
    start_docker
    start_podman
    [ -n "${CLAWHAND_TEST_DOCKER:-}" ] && suite docker "$CARGO" test --locked --no-fail-fast --test it -- docker
    start_kubernetes
    [ -n "${CLAWHAND_TEST_KUBECONFIG:-}" ] &&
        suite kubernetes "$CARGO" test --locked --no-fail-fast --test it -- kubernetes --test-threads 4
    start_openclaw
    [ -n "${CLAWHAND_TEST_OPENCLAW:-}" ] && suite openclaw "$CARGO" test --locked --no-fail-fast -- openclaw::
    run_clients
    recipe_tools
    suite recipes "$CARGO" test --locked --test it -- real_tools
fi
