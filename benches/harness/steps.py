"""The steps, on which data each runs, and what the design asks of Lifeboat there.

A step's targets are ratios to peers measured in the same rounds, or limits of its own. A target
whose other side wasn't measured is told as such, never as met.
"""

import statistics
from dataclasses import dataclass

from harness.tools import ENCRYPTED, FLOOR, PLAIN

MIXED, MILLION, SERVER = "mixed", "million", "server"
RIVALS, PEERS = (ENCRYPTED,), (ENCRYPTED, PLAIN)
MEMORY_BYTES = 150_000_000
MEMORY_BYTES_MILLION = 120_000_000

FIELDS = {
    "cpu": ("CPU", lambda cost: cost.cpu), "user": ("user CPU", lambda cost: cost.user),
    "wall": ("wall", lambda cost: cost.wall), "peak": ("peak memory", lambda cost: cost.peak),
    "stored": ("repository", lambda cost: cost.stored), "added": ("bytes added", lambda cost: cost.added),
}


class Results:
    """Costs by tool, step and round; medians and ratios of them."""

    def __init__(self, tools):
        self.tools = tools
        self.subject = tools[0]
        self.costs = {}
        self.failures = {}

    def add(self, tool, step, number, cost):
        self.costs.setdefault((tool.name, step), {})[number] = cost

    def fail(self, tool, step, problem):
        self.failures[tool.name, step] = problem

    def of(self, name, step):
        """Costs by round; empty for a tool that failed even once, or took no part."""
        return {} if (name, step) in self.failures else self.costs.get((name, step), {})

    def median(self, name, step, field):
        costs = self.of(name, step)
        return statistics.median(FIELDS[field][1](cost) for cost in costs.values()) if costs else None

    def ratio(self, step, other, other_step, field):
        """The subject's cost over another's: taken within each round, then the median."""
        own, their = self.of(self.subject.name, step), self.of(other, other_step)
        value = FIELDS[field][1]
        both = [value(own[n]) / max(value(their[n]), 0.001) for n in own.keys() & their.keys()]
        return statistics.median(both) if both else None

    def best(self, step, kinds, field):
        """The name of the tool of these kinds that took least."""
        medians = {tool.name: self.median(tool.name, step, field) for tool in self.tools if tool.kind in kinds}
        medians = {name: value for name, value in medians.items() if value is not None}
        return min(medians, key=medians.get) if medians else None


@dataclass
class Verdict:
    """A target and what came of it: `value` is None when it could not be measured."""

    target: str
    limit: float
    value: float | None
    shown: str = ""

    def __str__(self):
        if self.value is None:
            return "not measured"
        return f"{self.shown or f'{self.value:.2f}'}, {'met' if self.value <= self.limit else '**not met**'}"


def to_best(field, limit, kinds):
    """At most so many times what the best tool of these kinds took."""
    among = "encrypted peer" if kinds == RIVALS else "peer"

    def judge(results, step):
        best = results.best(step, kinds, field)
        name = f" ({best})" if best else ""
        return Verdict(f"{FIELDS[field][0]} <= {limit:.2f} x the best {among}'s{name}", limit,
                       results.ratio(step, best, step, field) if best else None)
    return judge


def to_one(field, limit, other, other_step=None):
    """At most so many times what one tool took, here or in another step."""

    def judge(results, step):
        name = results.subject.name if other is None else other
        words = f"its own in *{STEPS[other_step].title}*" if other is None else f"{name}'s"
        return Verdict(f"{FIELDS[field][0]} <= {limit:.2f} x {words}", limit,
                       results.ratio(step, name, other_step or step, field))
    return judge


def cpu_at_most(seconds):
    def judge(results, step):
        value = results.median(results.subject.name, step, "cpu")
        return Verdict(f"CPU <= {seconds} s", seconds, value, f"{value or 0:.2f} s")
    return judge


def memory(limit=MEMORY_BYTES):
    def judge(results, step):
        value = results.median(results.subject.name, step, "peak")
        return Verdict(f"peak memory <= {limit / 1e6:.0f} MB", limit, value, f"{(value or 0) / 1e6:.0f} MB")
    return judge


def transfer_cpu(limit):
    """What S3 adds to the same backup on a local disk, for each GB that was sent."""

    def judge(results, step):
        here, local = (results.median(results.subject.name, at, "cpu") for at in (step, "first"))
        sent = results.median(results.subject.name, "first", "stored")
        value = (here - local) / (sent / 1e9) if here is not None and local is not None and sent else None
        value = None if value is not None and value < 0 else value
        return Verdict(f"S3 adds <= {limit:.1f} CPU s a GB sent to *First backup*", limit, value,
                       f"{value or 0:.2f} s a GB")
    return judge


def transfer_added(limit, local):
    """What S3 adds to the same step on a local disk, against a bare transfer."""

    def judge(results, step):
        own, near = (results.median(results.subject.name, at, "cpu") for at in (step, local))
        bare = results.median("bare transfer", step, "cpu")
        value = (own - near) / bare if None not in (own, near, bare) else None
        # Less than the local disk took: the difference drowned in the noise and proves nothing.
        value = None if value is not None and value < 0 else value
        return Verdict(f"CPU beyond *{STEPS[local].title}* <= {limit:.2f} x a bare transfer's", limit, value)
    return judge


@dataclass
class Step:
    """One row of work. `command` is the tools' word for it where that isn't the step's own name."""

    title: str
    data: str
    targets: tuple
    note: str = ""
    command: str = ""
    # Numbers of the repositories whose bytes are counted afterwards.
    repos: tuple = ()
    # A step whose costs stand for this one with tools that have one command for both.
    same_for_peers: str = ""


STEPS = {
    "first": Step("First backup", MIXED, (
        to_best("cpu", 0.5, RIVALS), to_best("wall", 0.5, RIVALS), to_best("stored", 1.02, PEERS), memory(),
    ), "`tar | zstd` neither finds duplicates nor encrypts; conserve doesn't encrypt.", repos=(0,)),
    "again": Step("Unchanged again", MIXED, (
        to_best("cpu", 0.5, PEERS), to_one("cpu", 1.25, "bare walk"), memory(),
    ), "The bare walk reads every folder and takes every entry's status, in one thread.", repos=(0,)),
    "list": Step("List every file", MIXED, (cpu_at_most(0.1),)),
    "two": Step("First backup to two local targets", MIXED, (to_one("cpu", 1.15, None, "first"), memory()),
                "A peer needs one more whole run for each copy, or a copy that decrypts.", "copies 2", (1, 2)),
    "three": Step("First backup to three local targets", MIXED, (to_one("cpu", 1.30, None, "first"), memory()),
                  "", "copies 3", (3, 4, 5)),
    "restore": Step("Restore everything", MIXED, (
        to_best("user", 0.6, PEERS), to_best("wall", 0.6, PEERS), memory(),
    ), "`cp -a` copies the source tree. System time varies tenfold on such machines: compare user CPU."),
    "verify": Step("Verify every stored byte", MIXED, (to_best("cpu", 0.1, RIVALS), memory()),
                   "Lifeboat reads without a key; the peers need theirs and open what they read."),
    "deep": Step("Verify every blob", MIXED, (to_best("cpu", 0.35, RIVALS), memory()),
                 "Both sides open, decompress and re-hash every blob. The peers have one command for this and for "
                 "*Verify every stored byte*: its figures are shown again.", same_for_peers="verify"),
    "s3-backup": Step("First backup to S3", SERVER, (transfer_cpu(1.0), memory()),
                      "The bare transfer sends the same objects, eight at once, signed beforehand, with curl. "
                      "The server runs on the same cores: wall times are its own for the most part.", "s3 backup"),
    "s3-restore": Step("Restore from S3", SERVER, (
        to_one("cpu", 1.5, "bare transfer"), transfer_added(1.5, "restore"), memory(),
    ), "The bare transfer reads all objects, eight at once, and writes none of it.", "s3 restore"),
    "churn": Step("Incremental after churn", MIXED, (
        to_best("cpu", 0.5, RIVALS), to_best("wall", 0.5, RIVALS), to_best("added", 0.5, PEERS), memory(),
    ), repos=(0,)),
    "million": Step("A million files, first", MILLION, (to_best("cpu", 0.5, RIVALS), memory()), "", "first", (0,)),
    "million-again": Step("A million files, unchanged", MILLION, (
        to_one("cpu", 1.25, "bare walk"), memory(MEMORY_BYTES_MILLION),
    ), "", "again", (0,)),
    "million-list": Step("A million files, list", MILLION, (), "", "list"),
}
