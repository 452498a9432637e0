"""Clients that are programs of their own: built where they changed, then run in place of this process. Their output is
already in the form that the runner counts. Their first argument is a part of a sentence, or nothing."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

TESTS = Path(__file__).resolve().parents[1]
KAFKA = os.environ.get("COMPAT_KAFKA", "127.0.0.1:9092")
TOOLS = Path(os.environ.get("STREAMHOUSE_TOOLS", TESTS.parent / "target" / "compat"))
GET_THEM = "run scripts/setup.sh --matrix"


def give_up(client: str, why: str) -> NoReturn:
    """One failed check."""
    print(f"FAIL {client} is here: {' '.join(why.split())[-600:]}")
    sys.exit(1)


def become(client: str, words: list[str], **environment: str) -> NoReturn:
    """Runs the program with this process's arguments; nothing comes after it."""
    if shutil.which(words[0]) is None:
        give_up(client, f"no {words[0]}: {GET_THEM}")
    sys.stdout.flush()
    os.execvpe(words[0], [*words, *sys.argv[1:]], {**os.environ, **environment})


def build(client: str, words: list[str], folder: Path | None = None, **environment: str) -> None:
    """A build that does nothing if nothing changed."""
    if shutil.which(words[0]) is None:
        give_up(client, f"no {words[0]}: {GET_THEM}")
    done = subprocess.run(words, cwd=folder or TESTS / client, env={**os.environ, **environment}, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True)
    if done.returncode != 0:
        give_up(client, done.stdout)


def run_go(client: str) -> NoReturn:
    """A Go module in the folder of the client's name."""
    program = str(TOOLS / "go" / client)
    build(client, ["go", "build", "-mod=readonly", "-o", program, "."])
    become(client, [program])


def run_rust(client: str) -> NoReturn:
    """A package of the workspace in `rust-clients`, which is built whole: alone it would have other features."""
    build(client, ["cargo", "build", "--quiet", "--locked", "-j1"], TESTS / "rust-clients",
          CARGO_TARGET_DIR=str(TOOLS / "rust"))
    become(client, [str(TOOLS / "rust" / "debug" / f"{client}-checks")])


def run_node(client: str, node: str = "node") -> NoReturn:
    """`client.js` in the folder of the client's name, its packages in the tools."""
    modules = TOOLS / "node" / client / "node_modules"
    if not modules.exists():
        give_up(client, f"no packages: {GET_THEM}")
    become(client, [node, str(TESTS / client / "client.js")], NODE_PATH=str(modules))


def run_python(client: str, program: str) -> NoReturn:
    """A program of these tests in the client's own virtual environment."""
    become(client, [str(TOOLS / "python" / client / "bin" / "python"), str(TESTS / program)])


def java_classes(client: str, folder: Path, jars: list[Path]) -> str:
    """The class path of a folder's programs, compiled against the jars where they changed."""
    if not jars:
        give_up(client, f"no jars: {GET_THEM}")
    classes = TOOLS / client / "classes"
    sources = sorted(folder.glob("*.java"))
    stamp = classes / ".compiled"
    if not stamp.exists() or stamp.stat().st_mtime < max(source.stat().st_mtime for source in sources):
        classes.mkdir(parents=True, exist_ok=True)
        build(client, ["javac", "-Xlint:all,-processing,-deprecation,-removal", "-Werror", "-cp", ":".join(map(str, jars)),
                       "-d", str(classes), *map(str, sources)], folder)
        stamp.touch()
    return ":".join([str(classes), *map(str, jars)])
