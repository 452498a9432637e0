#!/usr/bin/env bash
# Measures what counting costs against target/release/agent (build it first) and, unless SKIP_WITHOUT=1, a build without metrics, which it
# makes; not part of CI.
set -euo pipefail
cd "$(dirname "$0")/.."

. bench/build.sh
build --bench
if [ "${SKIP_WITHOUT:-0}" != 1 ]; then
    # In the same folder, so that what both builds share is built once; the full one is put back.
    export STREAMHOUSE_AGENT_WITHOUT_METRICS=$PWD/target/release/agent-without-metrics
    cargo build --release --locked -p agent --no-default-features --features gcs,azure
    cp target/release/agent "$STREAMHOUSE_AGENT_WITHOUT_METRICS"
    cargo build --release --locked --workspace --bins
fi
PYTHONPATH=compat-tests/harness exec "$STREAMHOUSE_TOOLS/venv/bin/python" bench/metrics_cost.py "$@"
