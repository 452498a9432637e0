#!/usr/bin/env bash
# Many agents on one PostgreSQL database and one store (a folder, an S3 server), hurt in every way listed in run.py. Arguments go to it.
set -euo pipefail
cd "$(dirname "$0")/../.."

tools=${STREAMHOUSE_TOOLS:-$PWD/target/compat}
[ -x "$tools/venv/bin/python" ] || scripts/setup.sh
export PYTHONPATH=compat-tests/cluster:compat-tests/proxy:compat-tests/lanes:compat-tests/checker:compat-tests/harness:compat-tests/java
export PYTHONDONTWRITEBYTECODE=1
run() { "$tools/venv/bin/python" compat-tests/cluster/run.py "$@"; }

# Without arguments: short forms of all. On a folder what hurts agents and the database, on our S3 server what hurts a store or
# needs a proxy or hosts that can be cut, and on one that others wrote what moves partitions.
if [ "$#" -gt 0 ]; then
    run "$@"
else
    failed=0
    "$tools/venv/bin/python" compat-tests/proxy/wires_test.py || failed=1
    run restart join scale database clocks groups ambiguous || failed=1
    run --store s3 kill9 store zones vanish lonely uploads mix --seconds 30 || failed=1
    run zombies --turns 3 --lease 4 || failed=1
    run --store moto --rate 150 java || failed=1
    exit "$failed"
fi
