#!/usr/bin/env bash
# Gets what the tests need beyond Rust and a C compiler: kcat, PostgreSQL and PgBouncer, ip, Python with the pinned clients, a JDK with the pinned
# Kafka client, emulators of object stores. Everything but the system packages goes to target/compat. Each step looks first, so a second run is
# quick, and prints one line.
#
#   scripts/setup.sh            what scripts/test.sh needs
#   scripts/setup.sh --bench    and what bench/run.sh needs (headers of librdkafka)
#   scripts/setup.sh --kafka    and what bench/kafka.sh needs (the same, and an Apache Kafka)
#   scripts/setup.sh --oracle   and what compat-tests/oracle/run.sh needs (an Apache Kafka as old as the agent's protocol)
#   scripts/setup.sh --matrix   and every client of compat-tests/run.sh all, with an Apache Kafka (Rust is taken as there)
set -euo pipefail
cd "$(dirname "$0")/.."

tools=${STREAMHOUSE_TOOLS:-$PWD/target/compat}
mkdir -p "$tools"

say() { printf 'setup: %-28s %s\n' "$1" "$2"; }
die() { printf 'setup: %s\n' "$*" >&2; exit 1; }

as_root() {
    if [ "$(id -u)" -eq 0 ]; then "$@"
    elif command -v sudo >/dev/null; then sudo "$@"
    else die "need root for: $* (run it as root, or install sudo)"
    fi
}

# Runs a command quietly; its output is shown only when it fails.
quietly() {
    local log="$tools/setup.log"
    "$@" >"$log" 2>&1 || { tail -n 20 "$log" >&2; return 1; }
}

# A step of setup that a network hiccup should not fail.
with_retries() {
    local attempt
    for attempt in 1 2 3; do
        if quietly "$@"; then return 0; fi
        [ "$attempt" -eq 3 ] || sleep $((attempt * 3))
    done
    return 1
}

python_can_make_venvs() { python3 -c 'import sys, ensurepip, venv; assert sys.version_info >= (3, 9)' 2>/dev/null; }

postgres_is_there() { compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null && command -v psql >/dev/null; }

# The system packages that are lacking, by what each one gives.
lacking() {
    command -v cc >/dev/null || echo gcc libc6-dev
    command -v curl >/dev/null || echo curl ca-certificates
    command -v kcat >/dev/null || echo kcat
    postgres_is_there || echo postgresql
    command -v pgbouncer >/dev/null || [ -x /usr/sbin/pgbouncer ] || echo pgbouncer
    command -v openssl >/dev/null || echo openssl
    python_can_make_venvs || echo python3 python3-venv
    command -v ip >/dev/null || echo iproute2
    command -v javac >/dev/null || echo default-jdk-headless
    [ -e "$tools/azurite/.complete" ] || command -v npm >/dev/null || echo nodejs npm
    cmp -s compat-tests/java/pom.xml "$tools/java/.complete" || command -v mvn >/dev/null || echo maven
    case "${1:-}" in --bench | --kafka) [ -e /usr/include/librdkafka/rdkafka.h ] || echo librdkafka-dev ;; esac
    case "${1:-}" in
        --kafka | --matrix) cmp -s bench/kafka/pom.xml "$tools/kafka/.complete" || command -v mvn >/dev/null || echo maven ;;
        --oracle) cmp -s compat-tests/oracle/pom.xml "$tools/oracle/.complete" || command -v mvn >/dev/null || echo maven ;;
    esac
    if [ "${1:-}" = --matrix ]; then
        command -v go >/dev/null || echo golang
        command -v npm >/dev/null || echo nodejs npm
        command -v mvn >/dev/null || echo maven
        command -v c++ >/dev/null || echo g++
        command -v make >/dev/null || echo make
    fi
}

system_packages() {
    local packages
    read -ra packages <<<"$(lacking "$@" | tr '\n' ' ')"
    if [ "${#packages[@]}" -eq 0 ]; then say "system packages" "there"; return; fi
    command -v apt-get >/dev/null || die "no apt-get here; install these yourself, then run again: ${packages[*]}"
    with_retries as_root apt-get -o DPkg::Lock::Timeout=120 update || die "apt-get update failed"
    with_retries as_root env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=120 \
        install -y --no-install-recommends "${packages[@]}" || die "apt-get could not install: ${packages[*]}"
    say "system packages" "installed ${packages[*]}"
}

python_clients() {
    local wanted=compat-tests/requirements.txt venv="$tools/venv"
    if cmp -s "$wanted" "$venv/.complete" && "$venv/bin/python" -c 'import confluent_kafka, grpc' 2>/dev/null; then
        say "Python clients" "there"
        return
    fi
    rm -rf "$venv"
    quietly python3 -m venv "$venv" || die "python3 -m venv failed"
    with_retries "$venv/bin/python" -m pip install --disable-pip-version-check -r "$wanted" \
        || die "pip could not install $wanted"
    cp "$wanted" "$venv/.complete"
    say "Python clients" "installed $(grep -c . "$wanted") packages"
}

# The wheel carries a newer librdkafka than the system: a folder in which the system's kcat finds it by its soname.
newest_librdkafka() {
    local link="$tools/librdkafka/librdkafka.so.1" library
    library=$(find "$tools/venv" -name 'librdkafka*.so.1*' -print -quit)
    if [ -z "$library" ]; then say "newest librdkafka" "not in the wheel; skipped"; return; fi
    mkdir -p "${link%/*}"
    ln -sfn "$library" "$link"
    say "newest librdkafka" "linked for kcat"
}

# What a pom names and what that needs, as jars in a folder of their own: NAME POM FOLDER.
jars() {
    local name=$1 pom=$2 folder="$tools/$3"
    if cmp -s "$pom" "$folder/.complete"; then say "$name" "there"; return; fi
    rm -rf "$folder"
    mkdir -p "$folder/jars"
    with_retries mvn -q -B -f "$pom" \
        org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies -DoutputDirectory="$folder/jars" \
        || die "maven could not get the $name"
    cp "$pom" "$folder/.complete"
    say "$name" "installed $(find "$folder/jars" -name '*.jar' | wc -l) jars"
}

# An emulator of Azure Blob Storage; that of Google's is among the Python packages.
azure_emulator() {
    local version=3.37.0 folder="$tools/azurite"
    if [ "$(cat "$folder/.complete" 2>/dev/null)" = "$version" ]; then say "Azurite" "there"; return; fi
    rm -rf "$folder"
    mkdir -p "$folder"
    with_retries npm install --prefix "$folder" --no-audit --no-fund --omit=dev "azurite@$version" || die "npm could not install azurite"
    echo "$version" >"$folder/.complete"
    say "Azurite" "installed $version"
}

# A Python client of the matrix in an environment of its own.
python_client() {
    local wanted=compat-tests/$1/requirements.txt venv="$tools/python/$1"
    if cmp -s "$wanted" "$venv/.complete"; then say "$1" "there"; return; fi
    rm -rf "$venv"
    quietly python3 -m venv "$venv" || die "python3 -m venv failed"
    with_retries "$venv/bin/python" -m pip install --disable-pip-version-check -r "$wanted" || die "pip could not install $wanted"
    cp "$wanted" "$venv/.complete"
    say "$1" "installed $(grep -c . "$wanted") packages"
}

node_client() {
    local wanted=compat-tests/$1/package-lock.json folder="$tools/node/$1"
    if cmp -s "$wanted" "$folder/.complete"; then say "$1" "there"; return; fi
    rm -rf "$folder"
    mkdir -p "$folder"
    cp "${wanted%/*}"/package*.json "$folder"
    with_retries npm ci --prefix "$folder" --ignore-scripts --no-audit --no-fund || die "npm could not install $1"
    cp "$wanted" "$folder/.complete"
    say "$1" "installed"
}

# Go fetches the toolchain that a module asks for from 1.21 on; an older one only says that it cannot.
go_client() {
    case $(go env GOVERSION) in
        go1.[0-9] | go1.[0-9].* | go1.1[0-9]* | go1.20*) say "$1" "skipped: $(go env GOVERSION) is too old, 1.21 is needed"; return ;;
    esac
    with_retries go build -C "compat-tests/$1" -mod=readonly -o "$tools/go/$1" . || die "go could not build $1"
    say "$1" "built"
}

# librdkafka is built from C within it, so one job at a time.
rust_clients() {
    command -v cargo >/dev/null || { say "Rust clients" "skipped: no cargo"; return; }
    with_retries env CARGO_TARGET_DIR="$tools/rust" cargo build --locked -j1 --manifest-path compat-tests/rust-clients/Cargo.toml \
        || die "cargo could not build the Rust clients"
    say "Rust clients" "built"
}

matrix() {
    local client
    for client in java-groups java-3.9 connect streams; do jars "$client" "compat-tests/$client/pom.xml" "$client"; done
    for client in aiokafka kafka-python kafka-python-2 schema-registry; do python_client "$client"; done
    for client in kafkajs platformatic; do node_client "$client"; done
    for client in franz-go sarama kafka-go; do go_client "$client"; done
    rust_clients
}

system_packages "$@"
python_clients
newest_librdkafka
jars "Java client" compat-tests/java/pom.xml java
case "${1:-}" in --kafka | --matrix) jars "Apache Kafka" bench/kafka/pom.xml kafka ;; esac
if [ "${1:-}" = --oracle ]; then jars "Apache Kafka (oracle)" compat-tests/oracle/pom.xml oracle; fi
azure_emulator
if [ "${1:-}" = --matrix ]; then matrix; fi
