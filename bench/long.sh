#!/usr/bin/env bash
# One long run at a stated rate, with retention: whether memory and p99 stay flat and the disk bounded. Not part of CI.
set -euo pipefail
cd "$(dirname "$0")/.."

. bench/build.sh
build --bench
PYTHONPATH=compat-tests/harness exec "$STREAMHOUSE_TOOLS/venv/bin/python" bench/long.py "$@"
