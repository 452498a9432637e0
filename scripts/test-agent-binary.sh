#!/usr/bin/env bash
# Shows on a built binary, as a stranger would use it, that the whole agent works: one line per check.
#
#   scripts/test-agent-binary.sh [path of the binary, default target/release/agent]
#
# Needs kcat and python3 (standard library only). Uses free loopback ports and a temporary folder, and leaves neither
# behind. Exit code 0: every check passed; 1: one failed (its line says "FAILED", the agent's log follows); 2: not run.
set -euo pipefail

binary=${1:-target/release/agent}
command -v kcat >/dev/null && command -v python3 >/dev/null || { echo "needs kcat and python3 (scripts/setup.sh)" >&2; exit 2; }
[ -x "$binary" ] || { echo "$binary is not there: cargo build --release --bin agent" >&2; exit 2; }
binary=$(realpath "$binary")
folder=$(mktemp -d)
agent=
trap 'kill -9 $agent 2>/dev/null || true; rm -rf "$folder"' EXIT
cd "$folder"

passed() { printf 'ok      %s\n' "$*"; }
failed() {
    printf 'FAILED  %s\n' "$*"
    [ ! -f log ] || sed 's/^/        | /' log
    exit 1
}

# The agent sees no settings but these and those given to one start. `env` is replaced by it, so ids are the agent's.
settings=(PATH="$PATH" AGENT_ID=test-agent KAFKA_ADDRESS=127.0.0.1:0 AGENT_ADDRESS=127.0.0.1:0 METRICS_PORT=0
    METADATA_STORE="$folder/data/metadata.db" STREAMHOUSE_STORE="file://$folder/data/store")

start() {
    : >out # what the one before said is not this one's
    env -i "${settings[@]}" "$binary" >out 2>log &
    agent=$!
    for _ in $(seq 200); do
        grep -q '^ready' out && break
        kill -0 "$agent" 2>/dev/null || failed "starts (it exited)"
        sleep 0.05
    done
    grep -q '^ready' out || failed "starts (not ready after 10 s)"
    kafka=$(awk '$1 == "kafka" { print $2 }' out)
    grpc=$(awk '$1 == "grpc" { print $2 }' out)
    http=$(awk '$1 == "http" { print $2 }' out)
}

# stop SIGNAL: the agent must exit 0 within 25 s.
stop() {
    kill "-$1" "$agent"
    for _ in $(seq 500); do
        kill -0 "$agent" 2>/dev/null || break
        sleep 0.05
    done
    ! kill -0 "$agent" 2>/dev/null || failed "SIG$1 ends the agent within 25 s"
    local code=0
    wait "$agent" || code=$?
    [ "$code" = 0 ] || failed "SIG$1 exits 0 (it was $code)"
}

# refused CODE WORDS VARIABLE=VALUE...: exits with CODE and one line on stderr that contains WORDS.
refused() {
    local code=$1 words=$2 got=0
    shift 2
    timeout 30 env -i "${settings[@]}" "$@" "$binary" >refused.out 2>refused.err || got=$?
    [ "$got" = "$code" ] || failed "refused with code $code, got $got: $(cat refused.err)"
    [ "$(wc -l <refused.err)" = 1 ] || failed "one line on stderr, got: $(cat refused.err)"
    grep -q -- "$words" refused.err || failed "the line names '$words', got: $(cat refused.err)"
}

# fetch PATH: body and status of the agent's HTTP endpoint.
fetch() {
    python3 - "$http" "$1" <<'PYTHON'
import sys, urllib.error, urllib.request
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
try:
    answer = opener.open(f"http://{sys.argv[1]}{sys.argv[2]}", timeout=10)
    print(answer.status, answer.read().decode())
except urllib.error.HTTPError as error:
    print(error.code, error.read().decode())
PYTHON
}

# grpc_call METHOD HEX: one unary call, request and answer as hexadecimal protobuf. HTTP/2 by hand, so that nothing has
# to be installed: literal headers out, DATA frames in.
grpc_call() {
    python3 - "$grpc" "$1" "$2" <<'PYTHON'
import socket, struct, sys
address, method, message = sys.argv[1], sys.argv[2], bytes.fromhex(sys.argv[3])
host, port = address.rsplit(":", 1)
def frame(kind, flags, stream, payload):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload
def header(name, value):
    return b"\x00" + bytes([len(name)]) + name.encode() + bytes([len(value)]) + value.encode()
headers = b"".join(header(*pair) for pair in [
    (":method", "POST"), (":scheme", "http"), (":path", method), (":authority", address),
    ("content-type", "application/grpc"), ("te", "trailers")])
with socket.create_connection((host, int(port)), timeout=15) as connection:
    body = b"\x00" + struct.pack(">I", len(message)) + message
    connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0, b"")
                       + frame(1, 4, 1, headers) + frame(0, 1, 1, body))
    stream = connection.makefile("rb")
    answer = b""
    while True:
        head = stream.read(9)
        if len(head) < 9:
            sys.exit("connection closed")
        size, kind, flags = int.from_bytes(head[:3], "big"), head[3], head[4]
        payload = stream.read(size)
        if kind == 4 and not flags & 1:
            connection.sendall(frame(4, 1, 0, b""))
        elif kind == 6 and not flags & 1:
            connection.sendall(frame(6, 1, 0, payload))
        elif kind == 0:
            answer += payload
        elif kind in (3, 7):
            sys.exit("the call was reset")
        if kind in (0, 1) and flags & 1:
            break
if len(answer) < 5:
    sys.exit("the call failed: trailers only")
print(answer[5:].hex())
PYTHON
}

# --- refusals, before anything is opened
refused 2 FLUSH_BYTES FLUSH_BYTES=many
refused 2 "set STREAMHOUSE_STORE" METADATA_STORE=postgres://host/database STREAMHOUSE_STORE=
[ ! -e data ] || failed "a bad value opens nothing"
passed "a bad value is refused with one line and exit code 2"

# --- start
start
passed "starts: $(tail -n 1 out)"
passed "prints where it listens: kafka $kafka, grpc $grpc, http $http"

# --- HTTP
[ "$(fetch /health)" = "200 OK" ] || failed "/health answers 200 OK: $(fetch /health)"
[ "$(fetch /ready)" = "200 READY" ] || failed "/ready answers 200 READY: $(fetch /ready)"
fetch /metrics >fetched && grep -q '^# TYPE streamhouse_' fetched || failed "/metrics shows streamhouse_ metrics"
fetch /nowhere >fetched && grep -q '^404' fetched || failed "another path answers 404"
passed "HTTP answers: /health, /ready, /metrics"

# --- gRPC
[ "$(grpc_call /grpc.health.v1.Health/Check "")" = 0801 ] || failed "gRPC health says SERVING"
passed "gRPC is up: grpc.health.v1 says SERVING"
grpc_call /streamhouse.producer.ProducerService/InitProducer "" >producer || failed "gRPC InitProducer answers"
passed "gRPC InitProducer gives out a producer id ($(cat producer))"

# --- registration
python3 - "$folder/data/metadata.db" "$kafka" >registered <<'PYTHON' || failed "the agent is registered in the metadata store"
import sqlite3, sys
database = sqlite3.connect(f"file:{sys.argv[1]}?mode=ro", uri=True)
rows = database.execute("SELECT agent_id, kafka_address, session FROM sessions WHERE active = 1").fetchall()
assert len(rows) == 1 and rows[0][:2] == ("test-agent", sys.argv[2]), rows
print(rows[0][2])
PYTHON
passed "the agent is registered in the metadata store (session $(cat registered))"

# --- records
printf 'from-kafka\n' | kcat -P -b "$kafka" -t checks -p 0 -X acks=all -X message.timeout.ms=15000 2>kcat.err || failed "kcat produces: $(cat kcat.err)"
# ProduceRequest { topic = "checks", partition = 0, records = [{ value = "from-grpc" }] }
grpc_call /streamhouse.producer.ProducerService/Produce 0a06636865636b7310001a0b120966726f6d2d67727063 >produced || failed "gRPC Produce is acked"
timeout 30 kcat -C -b "$kafka" -t checks -p 0 -o beginning -e -q -f '%o %s\n' >consumed 2>kcat.err || failed "kcat consumes: $(cat kcat.err)"
[ "$(cat consumed)" = $'0 from-kafka\n1 from-grpc' ] || failed "both records come back in order, got: $(cat consumed)"
passed "records go through: produced by Kafka and by gRPC, consumed in order by Kafka"
[ -n "$(find data/store -path '*/flush/*' -type f)" ] || failed "the records are objects in the store"
[ -z "$(find data/store/.tmp -type f)" ] || failed "no temporary file is left in the store"
passed "the records are objects in the store ($(find data/store -path '*/flush/*' -type f | wc -l))"
fetch /metrics >fetched && grep -Eq '^streamhouse_append_records_total [1-9]' fetched || failed "/metrics counts the records"
passed "/metrics counts the records"

# --- neighbours
refused 1 "in use by another agent" AGENT_ID=second-agent
passed "a second agent on the same SQLite file is refused with one line"
refused 1 "in use" METADATA_STORE="$folder/other/metadata.db" KAFKA_ADDRESS="$kafka"
[ ! -e other ] || failed "a taken port opens nothing"
passed "a taken port is refused with one line"
[ "$(fetch /ready)" = "200 READY" ] || failed "the first agent is unharmed"

# --- end, and what survives it
stop TERM
passed "SIGTERM drains and exits 0"
start
timeout 30 kcat -C -b "$kafka" -t checks -p 0 -o beginning -e -q -f '%o %s\n' >consumed 2>kcat.err || failed "kcat consumes after a restart: $(cat kcat.err)"
[ "$(cat consumed)" = $'0 from-kafka\n1 from-grpc' ] || failed "the records survive a restart, got: $(cat consumed)"
passed "the records survive a restart"
stop INT
passed "SIGINT drains and exits 0"
agent=
