#!/usr/bin/env bash
# Many agents on one PostgreSQL database and one store (a folder, an S3 server), hurt in every way listed in run.py. Arguments go to it.
set -euo pipefail
cd "$(dirname "$0")/../.."

tools=${STREAMHOUSE_TOOLS:-$PWD/target/compat}
[ -x "$tools/venv/bin/python" ] || scripts/setup.sh
export PYTHONPATH=compat-tests/cluster:compat-tests/kill:compat-tests/harness PYTHONDONTWRITEBYTECODE=1
run() { "$tools/venv/bin/python" compat-tests/cluster/run.py "$@"; }

# Without arguments: everything on a folder, and what moves partitions on S3 too.
if [ "$#" -gt 0 ]; then
    run "$@"
else
    failed=0
    run || failed=1
    run --store s3 --rate 150 kill9 roll || failed=1
    exit "$failed"
fi
