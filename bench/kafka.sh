#!/usr/bin/env bash
# Measures target/release/agent beside a real Apache Kafka, one after the other on this machine, with the same clients; the table is
# left in target/bench. Not part of CI: with three rounds of ten seconds it takes more than an hour.
set -euo pipefail
cd "$(dirname "$0")/.."

. bench/build.sh
build --kafka
PYTHONPATH=compat-tests/harness:compat-tests/java exec "$STREAMHOUSE_TOOLS/venv/bin/python" bench/kafka.py "$@"
