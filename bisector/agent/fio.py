# SPDX-License-Identifier: GPL-2.0-only
"""The verb ``fio``: run a job of fio's, and read from its JSON what it did and what it met."""

from __future__ import annotations

import errno
import json
import re
import typing

from .command import TAIL, CommandResult, Halt, environment_of_program, fill, find_tool, run
from .outcome import Outcome
from .plan import LEFT_OUT, Step
from .steps import Workload

OUTPUT = 4 << 20
"""Bytes of what fio prints: some 6 KiB a job."""

DIRECTIONS = ("read", "write", "trim")
UNUSABLE = ("you need to specify size",)
"""What fio says of a job that it cannot run, although it then reports an error as of I/O (filesetup.c)."""


def perform(work: Workload, step: Step) -> Outcome:
    """Run the step's job. Raises Halt(plan) for a job that fio does not take, Halt(tools) without fio."""
    names = {**work.storage.opened(), "seed": str(work.plan.seed)}
    text = fill((_job(work, step),), names)[0]
    argv = [find_tool("fio"), "--eta=never", "--output-format=json", "-"]
    environment = environment_of_program(work.plan.seed, work.storage.environment())
    ran = run(argv, timeout=work.left(), env=environment, cwd=work.files, stdin=text, keep=OUTPUT)
    return outcome(step, ran)


def _job(work: Workload, step: Step) -> str:
    """What fio reads, with the placeholders of layers; ``for:`` is what all its jobs begin from."""
    lasting = f"[global]\ntime_based=1\nruntime={round(step.seconds * 1000)}ms\n" if step.seconds else ""
    if step.argv[0].startswith("./"):
        with open(f"{work.files}/{step.argv[0]}", encoding="utf-8", errors="surrogateescape") as file:
            return lasting + file.read()
    return lasting + "\n".join((f"[{step.name}]", *step.argv, ""))


def outcome(step: Step, ran: CommandResult) -> Outcome:
    """What fio saw: the first error of a job (EILSEQ is that of a verify), operations done and failed.

    Where the plan keeps the step's output, its JSON comes first, in one line; then what else fio printed, and a line a
    job for people. Raises Halt(plan) for a job that fio did not begin.
    """
    report, said = _report(ran.output)
    jobs = [job for job in report.get("jobs", ()) if isinstance(job, dict)]
    messages = said.strip()
    messages = messages if len(messages) <= TAIL else LEFT_OUT + messages[-TAIL:]
    if ran.exit is None:
        return Outcome(done=False, detail=messages)
    if (ran.exit > 0 and not jobs) or any(words in said for words in UNUSABLE):
        raise Halt("plan", f"{step.name}: fio did not run the job: {messages or f'exit {ran.exit}'}")
    errors = [int(job.get("error", 0)) for job in jobs]
    first = next(filter(None, errors), 0)
    failed = sum(int(job.get("total_err", 0)) or int(error != 0) for job, error in zip(jobs, errors, strict=True))
    done = sum(int(job.get(way, {}).get("total_ios", 0)) for job in jobs for way in DIRECTIONS)
    whole = json.dumps(report, separators=(",", ":")) if step.keep and report else ""
    lines = [line for line in (whole, messages, *map(_summary, jobs)) if line]
    name = errno.errorcode.get(first, f"E{first}") if first else ""
    return Outcome(exit=ran.exit, errno=name, count=done, failed=failed, detail="\n".join(lines))


def _report(output: str) -> tuple[dict[str, typing.Any], str]:
    """fio's JSON, empty where it printed none, and all else that it printed."""
    for begin in re.finditer(r"^\{", output, re.MULTILINE):
        try:
            found, end = json.JSONDecoder().raw_decode(output, begin.start())
        except ValueError:
            continue
        return found, output[: begin.start()] + output[end:]
    return {}, output


def _summary(job: dict[str, typing.Any]) -> str:
    """``load: write 812.5 IOPS, 3250 KiB/s``."""
    parts = [
        f"{way} {job[way].get('iops', 0):.1f} IOPS, {job[way].get('bw', 0)} KiB/s"
        for way in DIRECTIONS
        if job.get(way, {}).get("total_ios")
    ]
    return f"{job.get('jobname', '')}: {'; '.join(parts) or 'no I/O'}"
