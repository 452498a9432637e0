#!/usr/bin/env bash
# Measures what consumer groups cost against target/release/agent (build it first), in about three minutes; not part of CI.
set -euo pipefail
cd "$(dirname "$0")/.."

. bench/build.sh
build --bench
PYTHONPATH=compat-tests/harness:compat-tests/cluster exec "$STREAMHOUSE_TOOLS/venv/bin/python" bench/groups.py "$@"
