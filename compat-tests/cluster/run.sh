#!/usr/bin/env bash
# Many agents on one PostgreSQL database and one store, hurt in every way listed in run.py. Arguments go to it.
set -euo pipefail
cd "$(dirname "$0")/../.."

tools=${STREAMHOUSE_TOOLS:-$PWD/target/compat}
[ -x "$tools/venv/bin/python" ] || scripts/setup.sh
export PYTHONPATH=compat-tests/harness:compat-tests/kill:compat-tests/cluster PYTHONDONTWRITEBYTECODE=1
exec "$tools/venv/bin/python" compat-tests/cluster/run.py "$@"
