#!/usr/bin/env bash
# Measures two agents beside each other, for a change that is to be judged: bench/ab.sh BEFORE AFTER SCENARIO… Not part of CI.
set -euo pipefail
cd "$(dirname "$0")/.."

. bench/build.sh
build --kafka
PYTHONPATH=compat-tests/harness:compat-tests/java exec "$STREAMHOUSE_TOOLS/venv/bin/python" bench/ab.py "$@"
