#!/usr/bin/env bash
# A PostgreSQL server for tests: on a free port of 127.0.0.1, with its data in a temporary folder. Prints its URL, runs
# until its standard input ends, then stops and removes everything. Commits are synced, as in production.
#
#   scripts/throw-away-postgres.sh [--tls FOLDER] [--also-at ADDRESS] [setting=value…]       e.g. max_connections=200
#
# With --tls it has a certificate for the name localhost alone, and leaves in FOLDER: ca.crt that signed it, other-ca.crt
# that signed nothing here, client.crt and client.key. By the user's name it takes everything (postgres), only encrypted
# connections (encrypted), only plain ones (plain), only those with a client certificate (certified).
# --also-at: listens at this address too, trusts its /24, and prints it in the URL; for test networks.
#
# Signals: SIGUSR1 restarts the server at once, as if it had crashed; SIGUSR2 stops it, and the next SIGUSR1 starts it.
set -euo pipefail

tls=
if [ "${1:-}" = --tls ]; then
    tls=$2
    shift 2
fi
bin=$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -n 1)
[ -x "$bin/initdb" ] || bin=$(dirname "$(command -v initdb || true)" 2>/dev/null)
[ -x "$bin/initdb" ] || { echo "throw-away-postgres: no initdb; scripts/setup.sh installs it" >&2; exit 1; }

folder=$(mktemp -d "${TMPDIR:-/tmp}/streamhouse-postgres.XXXXXX")
# The server refuses to run as root.
as=()
if [ "$(id -u)" -eq 0 ]; then
    id postgres >/dev/null 2>&1 || { echo "throw-away-postgres: there is no user postgres" >&2; exit 1; }
    chown postgres "$folder"
    as=(setpriv --reuid=postgres --regid=postgres --clear-groups)
fi
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
address=127.0.0.1
if [ "${1:-}" = --also-at ]; then address=$2; shift 2; fi
settings=(-c listen_addresses="127.0.0.1,$address" -c port="$port" -c unix_socket_directories="$folder" -c max_connections=200)
for setting in "$@"; do settings+=(-c "$setting"); done

# Authorities, certificates of a year, and the file that says who may come how.
certify() {
    local data=$folder/data
    mkdir -p "$tls"
    authority() { openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 365 -subj "/CN=$1" \
        -keyout "$tls/$1.key" -out "$tls/$1.crt"; }
    certificate() { # file, subject, extensions
        openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=$2" -keyout "$tls/$1.key" -out "$tls/$1.csr"
        openssl x509 -req -in "$tls/$1.csr" -CA "$tls/ca.crt" -CAkey "$tls/ca.key" -CAcreateserial -days 365 \
            -extfile <(echo "$3") -out "$tls/$1.crt"
    }
    authority ca
    authority other-ca
    certificate server localhost subjectAltName=DNS:localhost
    certificate client certified extendedKeyUsage=clientAuth
    cp "$tls/server.crt" "$tls/server.key" "$tls/ca.crt" "$data/"
    chmod 600 "$data/server.key"
    [ "${#as[@]}" -eq 0 ] || chown postgres "$data/server.crt" "$data/server.key" "$data/ca.crt"
    settings+=(-c ssl=on -c ssl_ca_file=ca.crt)
    local rules="hostnossl all encrypted all reject
hostssl all plain all reject
hostssl all certified all trust clientcert=verify-ca
hostnossl all certified all reject"
    { echo "$rules"; cat "$data/pg_hba.conf"; } >"$folder/pg_hba.conf"
    cat "$folder/pg_hba.conf" >"$data/pg_hba.conf"
}

server=
start() {
    [ -z "$server" ] || return 0
    "${as[@]}" "$bin/postgres" -D "$folder/data" "${settings[@]}" >>"$folder/log" 2>&1 </dev/null &
    server=$!
    for _ in $(seq 200); do
        "$bin/pg_isready" -q -h 127.0.0.1 -p "$port" && return 0
        kill -0 "$server" 2>/dev/null || { cat "$folder/log" >&2; exit 1; }
        sleep 0.05
    done
    echo "throw-away-postgres: not ready in time" >&2
    exit 1
}
stop() {
    [ -n "$server" ] || return 0
    kill -QUIT "$server" 2>/dev/null || true
    wait "$server" 2>/dev/null || true
    server=
}
finish() {
    stop
    rm -rf "$folder"
}
trap finish EXIT
trap 'stop; start' USR1
trap stop USR2

cd "$folder"
"${as[@]}" "$bin/initdb" --no-sync --auth=trust --username=postgres --pgdata="$folder/data" >"$folder/log" 2>&1 \
    || { cat "$folder/log" >&2; exit 1; }
[ -z "$tls" ] || certify >>"$folder/log" 2>&1 || { cat "$folder/log" >&2; exit 1; }
[ "$address" = 127.0.0.1 ] || echo "host all all ${address%.*}.0/24 trust" >>"$folder/data/pg_hba.conf"
start
echo "postgres://postgres@$address:$port/postgres"
# The read is interrupted by the signals above, and ends when whoever started this is gone.
while true; do
    read -r _ && continue
    [ $? -gt 128 ] || break
done
