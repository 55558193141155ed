"""The programs that are measured, and how each of them spells the steps.

A tool without a word for a step takes no part in it. Nothing here runs or measures anything.
"""

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

# What a tool is to the ratios. Encrypted peers are the rivals; PLAIN ones do less work and are told
# apart; a FLOOR is no backup tool, but the least that the work itself takes.
SUBJECT, ENCRYPTED, PLAIN, FLOOR = "subject", "encrypted", "plain", "floor"
ZSTD_LEVEL = "3"


@dataclass
class Place:
    """A tool's room for one data set in one round: its repositories, its caches, its passphrase."""

    room: Path
    source: Path
    # A `s3.Remote` when the repositories lie on a server instead of in the room.
    remote: object = None
    # What opens lifeboat's repositories: `key-file` or `passphrase`.
    lifeboat_secret: str = "key-file"

    @property
    def password(self):
        return self.room / "password"

    @property
    def lifeboat_key(self):
        """The words that name lifeboat's secret; `init` makes the key file."""
        if self.lifeboat_secret == "passphrase":
            return ["--password-file", self.password]
        return ["--key-file", self.room / "lifeboat.key"]

    def repo(self, number=0):
        return f"{self.remote.url}/{number}" if self.remote else str(self.room / f"repo{number}")

    def restored(self):
        return self.room / "restored"

    def environment(self):
        home = self.room / "home"
        return {
            "PATH": os.environ["PATH"], "HOME": str(home), "LANG": "C.UTF-8",
            "XDG_CACHE_HOME": str(home / "cache"), "XDG_CONFIG_HOME": str(home / "config"),
            "BORG_BASE_DIR": str(home / "borg"), "BORG_PASSCOMMAND": f"cat {self.password}",
            "LIFEBOAT_STATE_DIR": str(home / "lifeboat"),
            **(self.remote.environment if self.remote else {}),
        }


@dataclass
class Tool:
    """A program and its words for each step: functions from a place to a list of commands."""

    name: str
    program: str
    kind: str
    commands: dict
    version_words: tuple = ("--version",)
    version: str = ""
    # Below the folder given to restore, where does the tree begin?
    root: object = lambda place: place.restored()


def lifeboat(program):
    def run(place, *words, repos=(0,), key=True):
        line = [program, "repo", words[0]]
        for number in repos:
            line += ["--repo", place.repo(number)]
        line += place.lifeboat_key if key else []
        return line + (place.remote.lifeboat if place.remote else []) + list(words[1:])

    def copies(*repos):
        return {f"init {len(repos)}": lambda p: [run(p, "init", repos=repos)],
                f"copies {len(repos)}": lambda p: [run(p, "backup", p.source, repos=repos)]}

    return Tool("lifeboat", program, SUBJECT, {
        "init": lambda p: [run(p, "init")],
        "first": lambda p: [run(p, "backup", p.source)],
        **copies(1, 2), **copies(3, 4, 5),
        "again": lambda p: [run(p, "backup", p.source)],
        "churn": lambda p: [run(p, "backup", p.source)],
        "list": lambda p: [run(p, "ls", "latest")],
        "restore": lambda p: [run(p, "restore", "latest", "--to", p.restored())],
        "verify": lambda p: [run(p, "verify", key=False)],
        "deep": lambda p: [run(p, "verify", "--deep")],
        "s3 backup": lambda p: [run(p, "backup", p.source)],
        "s3 restore": lambda p: [run(p, "restore", "latest", "--to", p.restored())],
    })


def restic_like(name, program, words, root, remote):
    """restic and rustic share a repository format and most of their words."""

    def run(place, *rest):
        where = place.remote.restic + "/0" if place.remote else place.repo()
        return [program, "-r", where, "--password-file", place.password, *rest]

    backup = lambda p: [run(p, "backup", p.source)]
    restore = lambda p: [run(p, *words["restore"](p))]
    check = lambda p: [run(p, "check", "--read-data")]
    return Tool(name, program, ENCRYPTED, {
        "init": lambda p: [run(p, "init")],
        "first": backup, "again": backup, "churn": backup, "restore": restore, "verify": check, "deep": check,
        "list": lambda p: [run(p, *words["list"])],
        **({"s3 backup": backup, "s3 restore": restore} if remote else {}),
    }, root=root)


def restic(program):
    words = {"restore": lambda p: ("restore", "latest", "--target", p.restored()), "list": ("ls", "latest")}
    tool = restic_like("restic", program, words, lambda p: p.restored() / p.source.relative_to("/"), remote=True)
    tool.version_words = ("version",)
    return tool


def rustic(program):
    words = {"restore": lambda p: ("restore", f"latest:{p.source}", p.restored()),
             "list": ("ls", "--recursive", "latest")}
    return restic_like("rustic", program, words, lambda p: p.restored(), remote=False)


def borg(program):
    def create(name):
        return lambda p: [[program, "create", "--compression", f"zstd,{ZSTD_LEVEL}", f"{p.repo()}::{name}", p.source]]

    check = lambda p: [[program, "check", "--verify-data", p.repo()]]
    return Tool("borg", program, ENCRYPTED, {
        "init": lambda p: [[program, "init", "--encryption", "repokey-blake2", p.repo()]],
        "first": create("first"), "again": create("again"), "churn": create("churn"),
        "list": lambda p: [[program, "list", f"{p.repo()}::first"]],
        "restore": lambda p: [[program, "extract", f"{p.repo()}::first"]],
        "verify": check, "deep": check,
    }, root=lambda p: p.restored() / p.source.relative_to("/"))


def bupstash(program):
    """It has no command that reads a repository back."""

    def run(place, verb, *words):
        return [program, verb, "-r", place.repo(), "-k", place.room / "key", *words]

    def put(name):
        return lambda p: [run(p, "put", "-q", f"name={name}", p.source)]

    return Tool("bupstash", program, ENCRYPTED, {
        "init": lambda p: [[program, "init", "-r", p.repo()], [program, "new-key", "-o", p.room / "key"]],
        "first": put("first"), "again": put("again"), "churn": put("churn"),
        "list": lambda p: [run(p, "list-contents", "-q", "name=first")],
        "restore": lambda p: [run(p, "restore", "-q", "--ownership", "--into", p.restored(), "name=first")],
    }, version_words=("version",))


def conserve(program):
    backup = lambda p: [[program, "backup", "--no-progress", p.repo(), p.source]]
    check = lambda p: [[program, "validate", "--no-progress", p.repo()]]
    return Tool("conserve", program, PLAIN, {
        "init": lambda p: [[program, "init", p.repo()]],
        "first": backup, "again": backup, "churn": backup,
        "list": lambda p: [[program, "ls", "--no-progress", p.repo()]],
        "restore": lambda p: [[program, "restore", "--no-progress", p.repo(), p.restored()]],
        "verify": check, "deep": check,
    })


def tar(program):
    def pipe(place, line):
        return [["bash", "-o", "pipefail", "-c", line, "bash", place.source, f"{place.repo()}/tar.zst", place.restored()]]

    return Tool("tar \\| zstd", program, FLOOR, {
        "init": lambda p: [["mkdir", p.repo()]],
        "first": lambda p: pipe(p, f'tar --format=posix -C "$1" -cf - . | zstd -q -T0 -{ZSTD_LEVEL} -o "$2"'),
        "restore": lambda p: pipe(p, 'zstd -q -dc "$2" | tar -C "$3" -xpf -'),
    })


def cp(program):
    return Tool("cp -a", program, FLOOR, {"restore": lambda p: [[program, "-a", f"{p.source}/.", p.restored()]]})


def bare_walk(program):
    return Tool("bare walk", program, FLOOR, {"again": lambda p: [[program, "walk", p.source]]}, version_words=())


def bare_transfer(program):
    """Objects as they are, eight at once, signed beforehand: what lifeboat stored there goes up or down."""

    def curl(place, direction):
        config = place.room / f"{direction}.curl"
        return [[program, "--silent", "--show-error", "--fail", "--parallel", "--parallel-max", "8", "--config", config]]

    return Tool("bare transfer", program, FLOOR, {
        "s3 backup": lambda p: curl(p, "up"), "s3 restore": lambda p: curl(p, "down"),
    })


PEERS = {"restic": restic, "rustic": rustic, "borg": borg, "bupstash": bupstash, "conserve": conserve,
         "tar": tar, "cp": cp, "curl": bare_transfer}
# The one that `generate.rs` is, and no program of PATH.
WALK = "walk"


def find_tools(names, subject, walker):
    """What is there of what was asked for, and the names of what isn't. The subject comes first."""
    tools = [lifeboat(str(Path(subject).resolve()))] if subject else []
    absent = []
    for name in names:
        program = str(walker) if name == WALK else shutil.which(name)
        if not program or name == "tar" and not shutil.which("zstd"):
            absent.append(name)
        elif name == WALK:
            tools.append(bare_walk(program))
        else:
            tools.append(PEERS[name](program))
    for tool in tools:
        tool.version = version_of(tool)
    return tools, absent


def version_of(tool):
    if not tool.version_words:
        return ""
    answer = subprocess.run([tool.program, *tool.version_words], capture_output=True, text=True, check=False).stdout
    number = re.search(r"\d+\.\d+(\.\d+)?\S*", answer)
    return number.group().rstrip(",)") if number else "of unknown version"
