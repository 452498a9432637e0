"""The Java client's checks: CompatClient.java, whose output is already in the form that the runner counts."""

import os
import subprocess
import sys

from java_client import command


def main() -> int:
    """The program's exit code."""
    try:
        words = command("CompatClient")
    except RuntimeError as error:
        print(f"FAIL the Java client is here: {error}")
        return 1
    return subprocess.run([*words, os.environ["COMPAT_KAFKA"], *sys.argv[1:]]).returncode


if __name__ == "__main__":
    sys.exit(main())
