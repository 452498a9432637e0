#!/usr/bin/env bash
# Checks deploy/: YAML, Kubernetes and compose schemas, the Dockerfile, and that every variable named there is one that the
# agent knows. Needs Python and a built agent; the linters go to target/compat.
#
#   scripts/test-deploy.sh [path/to/agent]
set -euo pipefail
cd "$(dirname "$0")/.."

tools=${STREAMHOUSE_TOOLS:-$PWD/target/compat}
agent=${1:-target/release/agent}
bin=$tools/deploy/bin
if ! cmp -s deploy/requirements.txt "$tools/deploy/.complete"; then
    rm -rf "$tools/deploy"
    python3 -m venv "$tools/deploy"
    "$bin/pip" install --quiet --disable-pip-version-check -r deploy/requirements.txt
    cp deploy/requirements.txt "$tools/deploy/.complete"
fi

"$bin/yamllint" --strict -c deploy/.yamllint deploy
"$bin/kubernetes-validate" --strict deploy/kubernetes/common.yaml deploy/kubernetes/base/agents.yaml
"$bin/check-jsonschema" --builtin-schema vendor.compose-spec deploy/compose.yaml
"$bin/hadolint" --ignore DL3008 deploy/Dockerfile

known=$("$agent" --help | grep -oE '[A-Z][A-Z0-9_]{3,}' | sort -u)
named=$(grep -hoE '^ *(- name: |  )?[A-Z][A-Z0-9_]{3,}(:|$)' deploy/compose.yaml deploy/kubernetes/*.yaml \
    deploy/kubernetes/base/*.yaml | grep -oE '[A-Z][A-Z0-9_]{3,}' | sort -u | grep -vE '^(POSTGRES_|NAMESPACE$)')
unknown=$(comm -23 <(echo "$named") <(echo "$known"))
[ -z "$unknown" ] || { echo "deploy/ names variables that the agent does not know: $unknown" >&2; exit 1; }
echo "deploy: ok, $(echo "$named" | wc -l) variables"
