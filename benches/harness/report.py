"""Tables in Markdown, and the part of a page that they replace."""

import datetime
import os
import platform
import re
import subprocess
from pathlib import Path

from harness.measure import Failed
from harness.steps import STEPS
from harness.tools import SUBJECT

BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"


def table(step, results):
    """Medians, how much of each tool's cost the subject needs, and what came of the targets."""
    about, subject = STEPS[step], results.subject
    stored, added = bool(about.repos), step == "churn"
    head = ["", "CPU s", "user", "system", "wall s", "peak MB"]
    head += ["repository MB"] * stored + ["added MB"] * added + [f"{subject.name} / it: CPU", "wall"]
    lines = [f"### {about.title}", "", *([about.note, ""] if about.note else []),
             "| " + " | ".join(head) + " |", "|---" + "|---:" * (len(head) - 1) + "|"]
    for tool in results.tools:
        if (tool.name, step) in results.failures:
            lines.append(f"| {tool.name} | failed |" + " |" * (len(head) - 2))
            continue
        if not results.of(tool.name, step):
            continue
        middle = lambda field: results.median(tool.name, step, field)
        cells = [tool.name, *(f"{middle('cpu') if what == 'cpu' else what:.2f}" for what in (
            "cpu", middle("user"), middle("cpu") - middle("user"), middle("wall"))), f"{middle('peak') / 1e6:.0f}"]
        cells += [megabytes(middle("stored"))] * stored + [megabytes(middle("added"))] * added
        for field in ("cpu", "wall"):
            ratio = None if tool is subject else results.ratio(step, tool.name, step, field)
            cells.append("" if ratio is None else f"{ratio:.2f}")
        lines.append("| " + " | ".join(cells) + " |")
    if subject.kind == SUBJECT:
        verdicts = [judge(results, step) for judge in about.targets]
        lines += [""] + [f"- {verdict.target}: {verdict}" for verdict in verdicts]
    return "\n".join(lines) + "\n"


def megabytes(count):
    """Nothing where nothing was counted."""
    return "" if not count else f"{count / 1e6:.0f}" if count >= 100e6 else f"{count / 1e6:.1f}"


def summary(steps, results):
    """Every target in one table: met, not met, or not measured."""
    lines = ["| work | target | measured |", "|---|---|---|"]
    for step in steps:
        for judge in STEPS[step].targets:
            verdict = judge(results, step)
            lines.append(f"| {STEPS[step].title} | {verdict.target} | {verdict} |")
    return "\n".join(lines) + "\n"


def machine(work):
    model = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text(encoding="ascii"))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    kind = subprocess.run(["df", "--output=fstype", work], capture_output=True, text=True, check=True).stdout.split()[-1]
    return (f"{model.group(1) if model else platform.machine()}, {os.cpu_count()} cores, {memory:.0f} GiB, "
            f"{kind}, Linux {platform.release().split('-')[0]}")


def page(command, data, rounds, absent, steps, results, work):
    versions = ", ".join(f"{tool.name} {tool.version}".strip() for tool in results.tools)
    load = os.getloadavg()[2]
    head = [
        f"Measured on {datetime.date.today().isoformat()}: {machine(work)}; the load of the last minutes was {load:.1f}.", "",
        *(f"- {line}" for line in data), f"- medians of {rounds} round{'s' if rounds != 1 else ', so no medians yet'}",
        f"- versions: {versions}",
        *([f"- not to be had here, so not measured: {', '.join(absent)}"] if absent else []),
        "", "```", command, "```", "",
    ]
    tables = [table(step, results) for step in steps if any(results.of(tool.name, step) or (tool.name, step) in results.failures
                                                            for tool in results.tools)]
    middle = ["### Targets", "", summary(steps, results)] if results.subject.kind == SUBJECT else []
    return "\n".join(head + middle) + "\n" + "\n".join(tables)


def write_page(path, text):
    old = path.read_text(encoding="utf-8")
    before, begin, rest = old.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise Failed(f"{path} has no lines `{BEGIN}` and `{END}` to write between")
    path.write_text(f"{before}{BEGIN}\n\n{text}\n{END}{after}", encoding="utf-8")
