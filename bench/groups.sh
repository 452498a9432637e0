#!/usr/bin/env bash
# Measures what consumer groups cost against target/release/agent (build it first), in about three minutes; not part of CI.
set -euo pipefail
cd "$(dirname "$0")/.."

export STREAMHOUSE_TOOLS=${STREAMHOUSE_TOOLS:-$PWD/target/compat} PYTHONDONTWRITEBYTECODE=1
scripts/setup.sh --bench
cc -O2 -Wall -Wextra -o "$STREAMHOUSE_TOOLS/load" bench/load.c -lrdkafka -lpthread
PYTHONPATH=compat-tests/harness:compat-tests/cluster exec "$STREAMHOUSE_TOOLS/venv/bin/python" bench/groups.py "$@"
