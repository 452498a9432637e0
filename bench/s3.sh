#!/usr/bin/env bash
# Measures what an object store at S3's distance costs, against target/release/agent and s3-server, in about five minutes; not
# part of CI.
set -euo pipefail
cd "$(dirname "$0")/.."

. bench/build.sh
build --bench
PYTHONPATH=compat-tests/harness:compat-tests/cluster exec "$STREAMHOUSE_TOOLS/venv/bin/python" bench/s3.py "$@"
