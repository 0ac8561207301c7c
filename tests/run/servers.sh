# Servers that the tests talk to: a private PostgreSQL cluster and an S3 server. Sourced by tests/run.sh.

POSTGRES_PID="" POSTGRES_HOME="" S3_PID=""

# postgres_folder: where the newest server (15 or later) of this machine has its programs.
postgres_folder() {
    local folder version
    for folder in $(printf '%s\n' /usr/lib/postgresql/*/bin | sort -rV) "$(dirname "$(command -v postgres)")"; do
        [ -x "$folder/postgres" ] && [ -x "$folder/initdb" ] || continue
        version=$("$folder/postgres" --version | grep -oE '[0-9]+' | head -n 1)
        [ "$version" -ge 15 ] && printf '%s\n' "$folder" && return 0
    done
    return 1
}

# as_postgres COMMAND...: the server refuses to be root. It is told to stop when this script dies, however that happens.
as_postgres() {
    local as=(setpriv --pdeathsig INT)
    [ "$(id -u)" = 0 ] && as=(setpriv --reuid=postgres --regid=postgres --init-groups --pdeathsig INT)
    cd "$POSTGRES_HOME" && exec "${as[@]}" "$@" 9>&-
}

start_postgres() {
    local folder log=$LOGS/postgres.log port
    if ! folder=$(postgres_folder); then
        leave_out postgresql "no server of version 15 or later; install postgresql (tests run on SQLite alone)"
        return
    fi
    # Not in the clone: the user postgres may not be able to reach that.
    POSTGRES_HOME=$(mktemp -d "${TMPDIR:-/tmp}/clawhand-postgres.XXXXXX")
    AT_EXIT+=(stop_postgres)
    [ "$(id -u)" = 0 ] && chown postgres: "$POSTGRES_HOME"
    (as_postgres "$folder/initdb" -D data -U postgres -A trust -E UTF8 --no-locale --no-sync) >"$log" 2>&1 ||
        { leave_out postgresql "initdb failed; see ${log#"$PWD"/} (tests run on SQLite alone)" && return; }
    for _ in 1 2 3 4 5; do
        port=$((20000 + RANDOM % 12000))
        # Nothing that these tests check survives a crash of the machine, so nothing waits for the disk.
        (as_postgres "$folder/postgres" -D data -k "$POSTGRES_HOME" -h 127.0.0.1 -p "$port" -F \
            -c max_connections=200 -c shared_buffers=64MB) >>"$log" 2>&1 </dev/null &
        POSTGRES_PID=$!
        while kill -0 "$POSTGRES_PID" 2>/dev/null; do
            if "$folder/pg_isready" -q -h 127.0.0.1 -p "$port"; then
                # Ready may be somebody else's server on that port: ours is the one that has written its pid.
                [ "$(head -n 1 "$POSTGRES_HOME/data/postmaster.pid" 2>/dev/null)" = "$POSTGRES_PID" ] || break
                export CLAWHAND_TEST_POSTGRES="postgres://postgres@127.0.0.1:$port/postgres"
                say ready postgresql "$("$folder/postgres" --version | cut -d' ' -f3) on a private cluster"
                return
            fi
            sleep 0.05
        done
        end_process "$POSTGRES_PID" INT
    done
    POSTGRES_PID=""
    leave_out postgresql "the server does not start; see ${log#"$PWD"/} (tests run on SQLite alone)"
}

stop_postgres() {
    [ -n "$POSTGRES_PID" ] && end_process "$POSTGRES_PID" INT
    [ -n "$POSTGRES_HOME" ] && rm -rf "$POSTGRES_HOME"
}

start_s3() {
    local log=$LOGS/s3.log address=$LOGS/s3-address
    rm -f "$address"
    if ! python_complete ||
        ! python_environment s3 'moto[s3]==5.2.5' flask==3.1.3 flask-cors==6.0.5 >"$log" 2>&1; then
        leave_out s3 "no python3 with venv, or PyPI does not give moto; see ${log#"$PWD"/}"
        return
    fi
    # The server lives for as long as somebody holds the other end of its input, and only this script does.
    exec 9> >(exec "$CACHE/s3/bin/python" tests/run/s3_server.py "$address" >>"$log" 2>&1)
    S3_PID=$!
    AT_EXIT+=(stop_s3)
    while [ ! -s "$address" ]; do
        if ! kill -0 "$S3_PID" 2>/dev/null; then
            leave_out s3 "the server does not start; see ${log#"$PWD"/}"
            return
        fi
        sleep 0.05
    done
    # The bucket that the tests use is there already: a client of clawhand's kind cannot make one.
    export CLAWHAND_TEST_S3 CLAWHAND_TEST_S3_BUCKET=clawhand-test
    CLAWHAND_TEST_S3=$(cat "$address")
    say ready s3 "moto, bucket $CLAWHAND_TEST_S3_BUCKET"
}

stop_s3() {
    exec 9>&-
    [ -n "$S3_PID" ] && wait "$S3_PID" 2>/dev/null
}
