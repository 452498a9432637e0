#!/usr/bin/env bash
# Measures the promised figures on this machine against target/release/agent, in under six minutes; not part of CI.
set -euo pipefail
cd "$(dirname "$0")/.."

. bench/build.sh
build --bench
PYTHONPATH=compat-tests/harness exec "$STREAMHOUSE_TOOLS/venv/bin/python" bench/run.py "$@"
