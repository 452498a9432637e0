"""Random bodies of every request and answer in every version, as Apache Kafka's own definitions encode them.

    bodies.py [--seed N] [--count M] > file      a line is `request|answer API version hex`

`crates/kafka-gateway/src/bodies_tests.rs` reads them with our codec; `--seed 1 --count 1` made the file that it reads in CI. It is
a differential test of two codecs: this one follows the definitions in Kafka's jar, ours is generated Rust.
"""

import argparse
import random
import sys

from kafka_process import JARS
from schemas import NUMBERS, Field, Message, Schemas

TEXTS = ("", "t", "topic-1", "größe", "日本", "a.b_c-d", "x" * 140)
SIZES = {"int8": 8, "int16": 16, "int32": 32, "int64": 64}
UNSIGNED = {"uint16": 16, "uint32": 32}


def number(kind: str, rng: random.Random) -> int | float:
    """Mostly of the edges."""
    if kind == "float64":
        return rng.choice((0.0, 1.5, -2.25, 1e300))
    if kind in UNSIGNED:
        return rng.choice((0, 1, (1 << UNSIGNED[kind]) - 1, rng.getrandbits(UNSIGNED[kind])))
    half = 1 << SIZES[kind] - 1
    return rng.choice((0, 1, -1, half - 1, -half, rng.randrange(-half, half)))


def value(field: Field, kind: str, version: int, rng: random.Random) -> object:
    """Any that the version can carry."""
    if version in field.nullable and kind == field.type and rng.random() < 0.25:
        return None
    if kind.startswith("[]"):
        return [value(field, field.element, version, rng) for _ in range(rng.choice((0, 1, 1, 2, 3)))]
    if kind in NUMBERS:
        return number(kind, rng)
    if kind == "bool":
        return rng.random() < 0.5
    if kind == "uuid":
        return rng.randbytes(16)
    if kind == "string":
        return rng.choice(TEXTS)
    if kind in ("bytes", "records"):
        return rng.randbytes(rng.choice((0, 1, 5, 130)))
    return body(field.fields, version, rng)


def default(field: Field, version: int) -> object:
    """What a tagged field is taken for where it is not written."""
    if field.fields is None or field.type.startswith("[]"):
        return field.default_value()
    return {inner.name: default(inner, version) for inner in field.fields if version in inner.versions}


def body(fields: list[Field], version: int, rng: random.Random) -> dict:
    """A struct. A tagged field is there or not; with its default it would not be written, so it has another value."""
    out = {}
    for field in fields:
        if version not in field.versions:
            continue
        made = value(field, field.type, version, rng)
        if version in field.tagged and (rng.random() < 0.5 or made == default(field, version)):
            continue
        out[field.name] = made
    return out


def line(side: str, api: str, version: int, message: Message, rng: random.Random) -> str:
    """One body."""
    return f"{side} {api} {version} {message.encode(version, body(message.fields, version, rng)).hex()}".rstrip()


def main() -> int:
    """Writes them all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=1, help="of each API, version and side")
    options = parser.parse_args()
    jar = next(JARS.glob("kafka-clients-*.jar"))
    schemas, rng = Schemas(jar), random.Random(options.seed)
    print(f"# {jar.stem}, bodies.py --seed {options.seed} --count {options.count}")
    for api, request in sorted(schemas.requests.items(), key=lambda pair: pair[1].key):
        for version in range(request.valid.low, request.valid.high + 1):
            for _ in range(options.count):
                print(line("request", api, version, request, rng))
                print(line("answer", api, version, schemas.answers[api], rng))
    return 0


if __name__ == "__main__":
    sys.exit(main())
