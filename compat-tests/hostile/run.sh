#!/usr/bin/env bash
# Hostile input against a real agent: bombs of counts, frames and codecs, and thousands of slow connections beside an honest client.
#   compat-tests/hostile/run.sh [--long] [--connections N] [scenario…]      about a minute; see docs/hostile-input.md
set -euo pipefail
cd "$(dirname "$0")/../.."

tools=${STREAMHOUSE_TOOLS:-$PWD/target/compat}
[ -x "$tools/venv/bin/python" ] && compgen -G "$tools/java/jars/kafka-clients-*.jar" >/dev/null || scripts/setup.sh
export STREAMHOUSE_TOOLS=$tools PYTHONDONTWRITEBYTECODE=1
export PYTHONPATH=compat-tests/hostile:compat-tests/oracle:compat-tests/lanes:compat-tests/harness
exec "$tools/venv/bin/python" compat-tests/hostile/run.py "$@"
