"""Runs one command and says what it took; compares a restored tree with its source.

CPU is user + system of the process tree and peak is the largest process of it, both from wait4.
(Peak is never less than the harness's own size at the fork, about 15 MB.)
"""

import os
import stat
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

READ_BYTES = 1 << 20


class Failed(Exception):
    """A command or a comparison went wrong; the message is for people."""


@dataclass
class Cost:
    """What one step of one tool took in one round: seconds and bytes."""

    wall: float
    user: float
    system: float
    peak: int
    # Lines printed, and the size of the repository afterwards and how much larger it became.
    lines: int = 0
    stored: int = 0
    added: int = 0

    @property
    def cpu(self):
        return self.user + self.system

    def __add__(self, other):
        return Cost(self.wall + other.wall, self.user + other.user, self.system + other.system,
                    max(self.peak, other.peak), self.lines + other.lines, self.stored, self.added)


def measure(command, environment, folder):
    """Runs one command to its end. Its output goes to a file, since a full pipe would stop it.

    What earlier steps left to be written is written before, so that nobody pays for another.
    """
    os.sync()
    with tempfile.TemporaryFile() as output:
        start = time.monotonic()
        child = subprocess.Popen(command, cwd=folder, env=environment, stdin=subprocess.DEVNULL,
                                 stdout=output, stderr=output)
        _, status, usage = os.wait4(child.pid, 0)
        wall = time.monotonic() - start
        child.returncode = os.waitstatus_to_exitcode(status)
        length = output.seek(0, os.SEEK_END)
        if child.returncode != 0:
            output.seek(max(0, length - 2000))
            said = output.read().decode(errors="replace").strip()
            raise Failed(f"{' '.join(map(str, command))}: exit {child.returncode}\n{said}")
        output.seek(0)
        lines = sum(block.count(b"\n") for block in iter(lambda: output.read(READ_BYTES), b""))
    return Cost(wall, usage.ru_utime, usage.ru_stime, usage.ru_maxrss * 1024, lines)


def bytes_below(folder):
    return sum(os.lstat(os.path.join(at, name)).st_size for at, _, names in os.walk(folder) for name in names)


def files_below(folder):
    return sum(len(names) for _, _, names in os.walk(folder))


def compare(source, restored):
    """Raises Failed at the first difference in names, kinds, modes, owners, mtimes or bytes."""
    for at, folders, files in os.walk(source):
        twin = restored / os.path.relpath(at, source)
        if not twin.is_dir() or sorted(os.listdir(at)) != sorted(os.listdir(twin)):
            raise Failed(f"restored {twin} doesn't list what {at} does")
        for name in folders + files:
            same(Path(at, name), twin / name)


def same(ours, theirs):
    a, b = ours.lstat(), theirs.lstat()
    for what in ("st_mode", "st_uid", "st_gid", "st_mtime_ns"):
        if getattr(a, what) != getattr(b, what):
            raise Failed(f"restored {theirs} has another {what}: {getattr(b, what)}, not {getattr(a, what)}")
    if stat.S_ISLNK(a.st_mode) and os.readlink(ours) != os.readlink(theirs):
        raise Failed(f"restored {theirs} points elsewhere")
    if stat.S_ISREG(a.st_mode):
        if a.st_size != b.st_size:
            raise Failed(f"restored {theirs} has {b.st_size} bytes, not {a.st_size}")
        with open(ours, "rb") as x, open(theirs, "rb") as y:
            while block := x.read(READ_BYTES):
                if block != y.read(READ_BYTES):
                    raise Failed(f"restored {theirs} has other bytes")
