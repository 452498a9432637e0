"""Compiles the Java programs of this folder against the pinned jars when they changed."""

import os
import subprocess
from pathlib import Path

HERE = Path(__file__).resolve().parent
TOOLS = Path(os.environ.get("STREAMHOUSE_TOOLS", HERE.parents[1] / "target" / "compat")) / "java"


def command(program: str) -> list[str]:
    """What starts a program, its own arguments to follow. Raises RuntimeError if the jars are not there."""
    jars, classes = sorted(map(str, (TOOLS / "jars").glob("*.jar"))), TOOLS / "classes"
    source, compiled = HERE / f"{program}.java", classes / f"{program}.class"
    changed = max(path.stat().st_mtime for path in HERE.glob("*.java"))
    if not jars:
        raise RuntimeError("the Java client is not here: run scripts/setup.sh")
    if not compiled.exists() or compiled.stat().st_mtime < changed:
        classes.mkdir(parents=True, exist_ok=True)
        subprocess.run(["javac", "-Xlint:all,-processing", "-Werror", "-cp", ":".join(jars), "-sourcepath", str(HERE),
                        "-d", str(classes), str(source)], check=True)
    return ["java", "-XX:+UseSerialGC", "-Xmx512m", "-cp", ":".join([str(classes), *jars]), program]
