"""The Java client: compiles CompatClient.java against the pinned jars when it changed, and runs it."""

import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
TOOLS = Path(os.environ.get("STREAMHOUSE_TOOLS", HERE.parents[1] / "target" / "compat")) / "java"


def main() -> int:
    """The program's exit code; its output is already in the form that the runner counts."""
    jars, classes = sorted(map(str, (TOOLS / "jars").glob("*.jar"))), TOOLS / "classes"
    source, compiled = HERE / "CompatClient.java", classes / "CompatClient.class"
    if not jars:
        print("FAIL the Java client is here: run scripts/setup.sh")
        return 1
    if not compiled.exists() or compiled.stat().st_mtime < source.stat().st_mtime:
        classes.mkdir(parents=True, exist_ok=True)
        subprocess.run(["javac", "-Xlint:all,-processing", "-Werror", "-cp", ":".join(jars), "-d", str(classes),
                        str(source)], check=True)
    path = ":".join([str(classes), *jars])
    return subprocess.run(["java", "-XX:+UseSerialGC", "-Xmx512m", "-cp", path, "CompatClient",
                           os.environ["COMPAT_KAFKA"], *sys.argv[1:]]).returncode


if __name__ == "__main__":
    sys.exit(main())
