#!/usr/bin/env bash
# Runs real clients against a real agent process: compat-tests/run.sh [client…]; see compat-tests/README.md.
set -euo pipefail
cd "$(dirname "$0")/.."

tools=${STREAMHOUSE_TOOLS:-$PWD/target/compat}
[ -x "$tools/venv/bin/python" ] || scripts/setup.sh
export STREAMHOUSE_TOOLS=$tools
export PYTHONDONTWRITEBYTECODE=1
exec "$tools/venv/bin/python" compat-tests/harness/run.py "$@"
