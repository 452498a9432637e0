#!/usr/bin/env bash
# Disks that fail: full, with errors, with a wrong bit; under the database, the objects and the cache. Arguments go to run.py.
set -euo pipefail
cd "$(dirname "$0")/../.."

tools=${STREAMHOUSE_TOOLS:-$PWD/target/compat}
[ -x "$tools/venv/bin/python" ] || scripts/setup.sh
export PYTHONPATH=compat-tests/cluster:compat-tests/proxy:compat-tests/lanes:compat-tests/checker:compat-tests/harness PYTHONDONTWRITEBYTECODE=1
exec "$tools/venv/bin/python" compat-tests/disk/run.py "$@"
