#!/usr/bin/env bash
# Many agents on one PostgreSQL database and one store (a folder, an S3 server), hurt in every way listed in run.py. Arguments go to it.
set -euo pipefail
cd "$(dirname "$0")/../.."

tools=${STREAMHOUSE_TOOLS:-$PWD/target/compat}
[ -x "$tools/venv/bin/python" ] || scripts/setup.sh
export PYTHONPATH=compat-tests/cluster:compat-tests/proxy:compat-tests/lanes:compat-tests/checker:compat-tests/harness:compat-tests/java
export PYTHONDONTWRITEBYTECODE=1
run() { "$tools/venv/bin/python" compat-tests/cluster/run.py "$@"; }

# Without arguments: short forms of all, in two lines at a time, as most of it is waiting. On a folder, and on an S3 server that others
# wrote, what hurts agents and the database or moves partitions; on our S3 server, in a network of its own, what hurts a store or
# needs hosts that can be cut.
if [ "$#" -gt 0 ]; then
    run "$@"
    exit
fi
on_s3=$(mktemp)
trap 'rm -f "$on_s3"' EXIT
(
    failed=0
    run --store s3 store zones lonely uploads mix --seconds 30 || failed=1
    exit "$failed"
) >"$on_s3" 2>&1 &
failed=0
"$tools/venv/bin/python" compat-tests/proxy/wires_test.py || failed=1
run join scale database clocks groups || failed=1
run ambiguous --count 60 || failed=1
run zombies --turns 2 --lease 4 || failed=1
run --store moto --rate 150 java || failed=1
wait "$!" || failed=1
cat "$on_s3"
exit "$failed"
