#!/usr/bin/env bash
# The agent on Azure Blob Storage and Google Cloud Storage, as far as their emulators are like them. Arguments go to run.py.
set -euo pipefail
cd "$(dirname "$0")/../.."

export STREAMHOUSE_TOOLS=${STREAMHOUSE_TOOLS:-$PWD/target/compat}
[ -x "$STREAMHOUSE_TOOLS/venv/bin/gcp-storage-emulator" ] && [ -d "$STREAMHOUSE_TOOLS/azurite" ] || scripts/setup.sh
export PYTHONPATH=compat-tests/harness PYTHONDONTWRITEBYTECODE=1
exec "$STREAMHOUSE_TOOLS/venv/bin/python" compat-tests/stores/run.py "$@"
