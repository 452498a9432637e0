#!/usr/bin/env bash
# The same raw requests to Apache Kafka and to the agent: compat-tests/oracle/run.sh [API…] [--all]; see compat-tests/README.md.
set -euo pipefail
cd "$(dirname "$0")/../.."

tools=${STREAMHOUSE_TOOLS:-$PWD/target/compat}
[ -x "$tools/venv/bin/python" ] && [ -e "$tools/oracle/.complete" ] || scripts/setup.sh --oracle
export STREAMHOUSE_TOOLS=$tools PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=compat-tests/harness
exec "$tools/venv/bin/python" compat-tests/oracle/run.py "$@"
