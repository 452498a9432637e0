#!/usr/bin/env bash
# Fuzzes one target for so many seconds of wall clock, on one core; ends with 1 and the input if it finds something.
#
#   fuzz/run.sh request|grpc_request|record_batch|segment_footer|all SECONDS [option of libFuzzer…]
#
# Needs the pinned Rust and a C++ compiler: the coverage passes are LLVM's own, so neither nightly nor cargo-fuzz. Starts from
# fuzz/corpus/TARGET (in git, replayed by the tests); what it learns stays in fuzz/target/learned/TARGET; a finding is
# fuzz/target/findings/TARGET-…. The last line says what was done.
set -euo pipefail
cd "$(dirname "$0")"

target=${1:?target} seconds=${2:?seconds}
shift 2
if [ "$target" = all ]; then
    for each in corpus/*/; do "./run.sh" "$(basename "$each")" "$seconds" "$@"; done
    exit
fi
[ -d "corpus/$target" ] || { echo "no target $target; there are: $(ls corpus | xargs), all" >&2; exit 2; }

# As cargo-fuzz does it: edge coverage, counters, comparisons traced.
export RUSTFLAGS="--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
-Cllvm-args=-sanitizer-coverage-trace-compares"
export CARGO_TARGET_DIR=$PWD/target
[ -e Cargo.lock ] || cp ../Cargo.lock . # the versions that the agent has
triple=$(rustc -vV | sed -n 's/^host: //p')
cargo build -q --release --target "$triple" -j "${FUZZ_JOBS:-2}"

mkdir -p "target/learned/$target" target/findings
code=0
TIMEFORMAT="$target: %R s of wall clock, %U s + %S s of CPU"
time "target/$triple/release/$target" "target/learned/$target" "corpus/$target" -max_total_time="$seconds" -timeout=20 \
    -rss_limit_mb=2048 -max_len=65536 -print_final_stats=1 -artifact_prefix="target/findings/$target-" "$@" \
    2>"target/$target.log" || code=$?
grep -aE '^stat::(number_of_executed|peak_rss)|^#[0-9]+.*DONE' "target/$target.log" || true
if [ "$code" -ne 0 ]; then
    grep -aE -B 2 -A 12 'panicked|ERROR: libFuzzer|one allocation' "target/$target.log" | head -n 60
    echo "$target: FOUND something, see $PWD/target/$target.log"
    exit 1
fi
echo "$target: no finding"
