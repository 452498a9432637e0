#!/usr/bin/env bash
# A PgBouncer for tests, in transaction mode, on a free port of 127.0.0.1 before the server of a PostgreSQL URL: whatever
# database a client names, as the URL's user. Prints its URL, runs until its standard input ends.
#
#   scripts/throw-away-pgbouncer.sh postgres://user@host:port/database [setting=value…]      e.g. default_pool_size=2
set -euo pipefail

PATH=$PATH:/usr/sbin
command -v pgbouncer >/dev/null || { echo "throw-away-pgbouncer: no pgbouncer; scripts/setup.sh installs it" >&2; exit 1; }
[[ "${1:-}" =~ ^postgres://([^@:]+)@([^:/]+):([0-9]+)/ ]] \
    || { echo "throw-away-pgbouncer: give the URL of a PostgreSQL server without a password" >&2; exit 2; }
user=${BASH_REMATCH[1]} host=${BASH_REMATCH[2]} server_port=${BASH_REMATCH[3]}
shift

folder=$(mktemp -d "${TMPDIR:-/tmp}/streamhouse-pgbouncer.XXXXXX")
pooler=
finish() {
    [ -z "$pooler" ] || kill -INT "$pooler" 2>/dev/null || true
    rm -rf "$folder"
}
trap finish EXIT
# It refuses to run as root.
as=()
if [ "$(id -u)" -eq 0 ]; then
    as=(setpriv --reuid=nobody --regid=nogroup --clear-groups)
    chmod 755 "$folder"
fi
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
{
    echo "[databases]"
    echo "* = host=$host port=$server_port user=$user"
    echo "[pgbouncer]"
    printf '%s\n' listen_addr=127.0.0.1 "listen_port=$port" unix_socket_dir= auth_type=any pool_mode=transaction \
        max_client_conn=1000 default_pool_size=4 "$@"
} >"$folder/pgbouncer.ini"

"${as[@]}" pgbouncer -q "$folder/pgbouncer.ini" >"$folder/log" 2>&1 </dev/null &
pooler=$!
for _ in $(seq 100); do
    if (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
        echo "postgres://$user@127.0.0.1:$port/postgres"
        while read -r _; do :; done
        exit 0
    fi
    kill -0 "$pooler" 2>/dev/null || break
    sleep 0.05
done
cat "$folder/log" >&2
echo "throw-away-pgbouncer: it did not start" >&2
exit 1
