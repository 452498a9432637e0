#!/usr/bin/env bash
# Everything there is to test, from a fresh clone: what the tests need, lints, the build, units, the built binary, real
# clients, hostile input, kill tests, many agents. A table at the end; exit code 1 if anything failed. On two cores about 35 minutes cold.
#
#   scripts/test.sh [step…]     steps: setup lints build units binary deploy clients stores hostile kill cluster; none means all
set -euo pipefail
cd "$(dirname "$0")/.."

all=(setup lints build units binary deploy clients stores hostile kill cluster)
target=${CARGO_TARGET_DIR:-$PWD/target}
export CARGO_TARGET_DIR=$target STREAMHOUSE_TOOLS=${STREAMHOUSE_TOOLS:-$target/compat}
# No examples: they are benches of parts, which clippy looks at.
targets=(--lib --bins --tests)
names=() results=() times=() causes=() failed=0
log=$(mktemp)
trap 'rm -f "$log"' EXIT

# run MINUTES NAME COMMAND…: a row of the table; a step that exceeds its minutes fails.
run() {
    local minutes=$1 name=$2 began=$SECONDS code=0
    shift 2
    printf '\n=== %s\n' "$name"
    timeout --kill-after=30 "${minutes}m" "$@" 2>&1 | tee "$log" || code=$?
    names+=("$name") times+=($((SECONDS - began)))
    case $code in
        0) results+=(ok); return 0 ;;
        124 | 137) results+=("FAILED after $minutes minutes") ;;
        *) results+=("FAILED with $code") ;;
    esac
    failed=1
    # Said again after the table: whoever sees only the end of the output sees the cause.
    causes+=("--- $name" "$(grep -aE -A 1 'FAIL|×|^error|panicked|Traceback' "$log" | cut -c -300 | tail -n 12 || true)")
    return 1
}

skip() { names+=("$1") results+=("not run: $2") times+=(0); }

lints() {
    if cargo fmt --version >/dev/null 2>&1; then run 2 "format" cargo fmt --all --check || true
    else skip "format" "no rustfmt in this toolchain"; fi
    if cargo clippy --version >/dev/null 2>&1; then
        run 15 "clippy" cargo clippy --release --locked --workspace --all-targets -- -D warnings || true
    else skip "clippy" "no clippy in this toolchain"; fi
}

# The form without metrics and clouds is checked, not linked: that would be a second build of nearly everything.
builds() {
    run 20 "without features" cargo check --release --locked -p agent --no-default-features || return 1
    run 1 "no crate of theirs in it" bash -c '! cargo tree --locked -p agent -e normal --no-default-features --prefix none |
        grep -E "^(opentelemetry|prometheus|opendal-service-(gcs|azblob))"' || true
    run 25 "build" cargo build --release --locked --workspace "${targets[@]}"
}

main() {
    local wanted=("$@") step
    [ "${#wanted[@]}" -gt 0 ] || wanted=("${all[@]}")
    for step in "${wanted[@]}"; do
        case $step in
            setup) run 15 "setup" scripts/setup.sh || break ;;
            lints) lints ;;
            build) builds || break ;;
            units) run 15 "units, properties, conformance" cargo test --release --locked --workspace "${targets[@]}" --no-fail-fast || true ;;
            binary) run 3 "the built binary" scripts/test-agent-binary.sh "$target/release/agent" || true ;;
            deploy) run 5 "deploy files" scripts/test-deploy.sh "$target/release/agent" || true ;;
            clients) run 12 "clients" compat-tests/run.sh || true ;;
            stores) run 3 "object stores" compat-tests/stores/run.sh || true ;;
            hostile) run 3 "hostile input" compat-tests/hostile/run.sh || true ;;
            kill) run 15 "kill tests" compat-tests/kill/run.sh || true
                run 5 "disks that fail" compat-tests/disk/run.sh || true ;;
            cluster) run 15 "many agents" compat-tests/cluster/run.sh || true ;;
            *) echo "unknown step $step; there are: ${all[*]}" >&2; exit 2 ;;
        esac
    done
    printf '\n%-34s %8s  %s\n' step seconds result
    local i
    for i in "${!names[@]}"; do printf '%-34s %8d  %s\n' "${names[i]}" "${times[i]}" "${results[i]}"; done
    [ "$failed" -eq 0 ] || printf '%s\n' "${causes[@]}" "FAILED"
    exit "$failed"
}

main "$@"
