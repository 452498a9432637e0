#!/usr/bin/env bash
# Prints where the CPU of target/release/agent goes while it is written to, per MiB; not part of CI.
set -euo pipefail
cd "$(dirname "$0")/.."

. bench/build.sh
build --bench
PYTHONPATH=compat-tests/harness exec "$STREAMHOUSE_TOOLS/venv/bin/python" bench/profile.py "$@"
