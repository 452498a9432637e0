#!/usr/bin/env bash
# The kill tests: kill -9 at random moments, also under segments so large that they have packs of their own, then aborts at
# each named stop point. Arguments (--rounds, --seed, …) go to each of the five; the tests of the checker and of the raw
# client run first. All the while small ranges are rewritten.
set -euo pipefail
cd "$(dirname "$0")/../.."

tools=${STREAMHOUSE_TOOLS:-$PWD/target/compat}
[ -x "$tools/venv/bin/python" ] || scripts/setup.sh
export PYTHONPATH=compat-tests/harness:compat-tests/checker:compat-tests/lanes PYTHONDONTWRITEBYTECODE=1
python=$tools/venv/bin/python

"$python" compat-tests/checker/checker_test.py
"$python" compat-tests/lanes/raw_lanes_test.py
export REWRITE_BYTES=1MiB REWRITE_AGE=0.2
failed=0
"$python" compat-tests/kill/run.py "$@" || failed=1
"$python" compat-tests/kill/run.py --rate 25 --ballast 400000 "$@" || failed=1
for point in after-put after-commit after-rewrite; do
    "$python" compat-tests/kill/run.py --stop-at "$point" "$@" || failed=1
done
exit "$failed"
