#!/usr/bin/env bash
# Measures many partitions, connections and topics against target/release/agent (build it first), in about four minutes; not part of CI.
set -euo pipefail
cd "$(dirname "$0")/.."

. bench/build.sh
build --bench
PYTHONPATH=compat-tests/harness exec "$STREAMHOUSE_TOOLS/venv/bin/python" bench/scale.py "$@"
