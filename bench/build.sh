# Sourced by the commands of this folder: where the tools are, what they need from setup, the programs in C. load.c is linked to the
# newest librdkafka where setup found one (in the Python client's wheel), else to the system's.
export STREAMHOUSE_TOOLS=${STREAMHOUSE_TOOLS:-$PWD/target/compat} PYTHONDONTWRITEBYTECODE=1

build() {
    scripts/setup.sh "$1"
    local library=-lrdkafka rpath=
    if [ -e "$STREAMHOUSE_TOOLS/librdkafka/librdkafka.so.1" ]; then
        library=$(readlink -f "$STREAMHOUSE_TOOLS/librdkafka/librdkafka.so.1")
        rpath=-Wl,-rpath,${library%/*}
    fi
    cc -O2 -Wall -Wextra -o "$STREAMHOUSE_TOOLS/load" bench/load.c "$library" ${rpath:+"$rpath"} -lpthread
    cc -O2 -Wall -Wextra -o "$STREAMHOUSE_TOOLS/discard_broker" bench/discard_broker.c -lpthread
}
