"""Disks of one agent that fail on demand: full ones (small tmpfs), and ones with errors (disk.c)."""

import os
import struct
import subprocess
from pathlib import Path

HERE = Path(__file__).resolve().parent
WRITES, SYNCS = 1, 2
ORDER = struct.Struct("=ii1024s")


class Errors:
    """EIO under one folder at a time. `settings` make the agent meet it."""

    def __init__(self, folder: Path):
        library = folder / "disk.so"
        subprocess.run(["cc", "-O2", "-Wall", "-Wextra", "-shared", "-fPIC", "-o", str(library), str(HERE / "disk.c")], check=True)
        self._file = folder / "disk.order"
        self._file.write_bytes(bytes(ORDER.size))
        self.settings = {"LD_PRELOAD": str(library), "DISK_FILE": str(self._file)}

    def fail(self, what: int, under: Path) -> None:
        """From now on."""
        self._write(what, f"{under.resolve()}/".encode())

    def mend(self) -> int:
        """Nothing fails any more; how many calls did."""
        count = ORDER.unpack(self._file.read_bytes())[1]
        self._write(0, b"")
        return count

    def _write(self, what: int, under: bytes) -> None:
        # The folder first: the agent reads this at any moment.
        with self._file.open("r+b") as file:
            file.write(ORDER.pack(0, 0, under))
            file.flush()
            file.seek(0)
            file.write(struct.pack("=i", what))


class SmallDisk:
    """A file system of so many MiB at a folder, which can be filled and emptied. Needs a mount namespace of its own."""

    def __init__(self, folder: Path, mib: int):
        folder.mkdir(parents=True, exist_ok=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={mib}m", "none", str(folder)], check=True)
        self._folder = folder

    def fill(self) -> None:
        """No byte is left, and what its owner frees is taken too."""
        with (self._folder / "filler").open("ab", buffering=0) as filler:
            for size in (1 << 20, 4096, 1):
                try:
                    while True:
                        filler.write(bytes(size))
                except OSError:
                    continue

    def empty(self) -> None:
        """What filled it goes."""
        (self._folder / "filler").unlink()

    def end(self) -> None:
        """Whoever used it has ended."""
        subprocess.run(["umount", str(self._folder)], check=True)


def is_possible() -> bool:
    """Whether file systems can be mounted here."""
    return os.geteuid() == 0 and subprocess.run(["unshare", "--mount", "true"], capture_output=True).returncode == 0
