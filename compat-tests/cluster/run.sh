#!/usr/bin/env bash
# Many agents on one PostgreSQL database and one store (a folder, an S3 server), hurt in every way listed in run.py. Arguments go to it.
set -euo pipefail
cd "$(dirname "$0")/../.."

tools=${STREAMHOUSE_TOOLS:-$PWD/target/compat}
[ -x "$tools/venv/bin/python" ] || scripts/setup.sh
export PYTHONPATH=compat-tests/cluster:compat-tests/kill:compat-tests/harness PYTHONDONTWRITEBYTECODE=1
run() { "$tools/venv/bin/python" compat-tests/cluster/run.py "$@"; }

# Without arguments: everything on a folder; on our S3 server what hurts a store, and on one that others wrote what moves
# partitions. OUTAGE_S is how long the store does not answer.
if [ "$#" -gt 0 ]; then
    run "$@"
else
    failed=0
    run || failed=1
    run --store s3 kill9 store cut || failed=1
    run --store moto --rate 150 roll || failed=1
    exit "$failed"
fi
