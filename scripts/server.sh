# Sourced by scripts that need a server of their own. They set $sendgate (the
# binary) and $work (a directory that they remove).
#
# The server is stopped by its own process ID: others on this machine are none
# of our business.

server_pid=

# A loopback port that nobody listens on now.
free_port() {
    local port
    while :; do
        port=$((20000 + RANDOM))
        (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || break
    done
    echo "$port"
}

# Starts the server on $work/data and waits until it answers.
start_server() {
    local port deadline
    port="$(free_port)"
    export SENDGATE_ENDPOINT="http://127.0.0.1:$port"
    "$sendgate" serve --data "$work/data" --listen "127.0.0.1:$port" --http-listen off \
        >>"$work/server.log" 2>&1 &
    server_pid=$!
    deadline=$((SECONDS + 120))
    until "$sendgate" stats >/dev/null 2>&1; do
        if ! kill -0 "$server_pid" 2>/dev/null || [ "$SECONDS" -ge "$deadline" ]; then
            echo "the server does not start:" >&2
            tail -n 20 "$work/server.log" >&2
            return 1
        fi
        sleep 0.1
    done
}

# Stops the server with a signal, TERM unless said, and waits for its end.
stop_server() {
    if [ -n "$server_pid" ]; then
        kill -s "${1:-TERM}" "$server_pid" 2>/dev/null || true
        # Its exit code tells of the signal; what we wanted is that it ends.
        wait "$server_pid" 2>/dev/null || true
        server_pid=
    fi
}
