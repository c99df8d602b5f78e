# SPDX-License-Identifier: GPL-2.0-only
"""The regression of v6.18 (5ff3f74e145a, LVM raid1 and O_DIRECT) as facts of a finished campaign, one per outcome.

Commits, ids, versions and log lines are those of the real case; only the search between them is made up.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from bisector.agent.plan import KernelFacts, LayerFacts, Result, StepFacts
from bisector.causes import BuildStage
from bisector.mail.recipients import People
from bisector.mail.thread import Address
from bisector.model import (
    BuildFailure,
    Candidate,
    Commit,
    Edit,
    Ending,
    Image,
    Judgement,
    Observation,
    Outcome,
    OutcomeKind,
    Reading,
    Signal,
    TargetKind,
    Timing,
    Trial,
    Verdict,
)
from bisector.report.excerpt import excerpt, readable
from bisector.report.facts import Facts, OtherFailure, Side
from bisector.report.spans import Span, SpanKind
from bisector.store import CampaignRow

LOG = (Path(__file__).parent.parent / "trial/data/raid1-leg-failed-6.18.5.log").read_bytes()
CULPRIT = Commit(
    "5ff3f74e145adc79b49668adb8de276446acf6be",
    "block: simplify direct io validity check",
    "Keith Busch <kbusch@kernel.org>",
    ("20a0e6276edba4318c13486df02c31e5f3c09431",),
)
PARENT = Commit(
    "20a0e6276edba4318c13486df02c31e5f3c09431",
    "block: align the bio after building it",
    "Keith Busch <kbusch@kernel.org>",
    ("743bf2e0c49c835af35daef13a1b4afda5f0f7e3",),
)
GOOD, BAD = "e5f0a698b34ed76002dc5cff3804a61c80233a7a", "7d0a66e4bb9081d75c82ec4957c50034cb0ea449"
BISECT_LOG = f"""git bisect start '--no-checkout' '{BAD}' '{GOOD}'
# status: waiting for both good and bad commits
# bad: [{BAD}] Linux 6.18
# good: [{GOOD}] Linux 6.17
# good: [743bf2e0c49c835af35daef13a1b4afda5f0f7e3] block: add size alignment to bio_iov_iter_get_pages
git bisect good 743bf2e0c49c835af35daef13a1b4afda5f0f7e3
# skip: [20a0e6276edba4318c13486df02c31e5f3c09431] block: align the bio after building it
git bisect bad {CULPRIT.oid}
# first bad commit: [{CULPRIT.oid}] {CULPRIT.subject}
"""
CELL = "guest.drives.vda.aio=native"
ROW = CampaignRow(
    id="virtio-dio-lvm-raid1-20261121-090000",
    recipe="virtio-dio-lvm-raid1",
    title="opening an LV with cache.direct=on fails a raid1 leg",
    source="recipe: virtio-dio-lvm-raid1\n",
    repo="/nonexistent/linux",
    good=GOOD,
    bad=BAD,
    find_fix=False,
    cell="",
    created=1795248000.0,
    state="finished",
)
SENDER = Address("Jane Doe", "jane@example.org")
PEOPLE = People(
    (Address("Keith Busch", "kbusch@kernel.org"), Address("Jens Axboe", "axboe@kernel.dk")),
    (Address("", "linux-block@vger.kernel.org"), Address("", "regressions@lists.linux.dev")),
)


def image(name: str, release: str) -> Image:
    return Image(
        identity=f"{name:0<64}",
        kernel=f"/cache/{name}/bzImage",
        build_id="2b6c42b459e1e798e6f0042f8e25403c32957374",
        release=release,
        tools=(("compiler", "gcc (Debian 12.2.0-14+deb12u1) 12.2.0"), ("make", "GNU Make 4.3")),
        commands=("make -j2 bzImage",),
        seconds=190.0,
    )


def trial(number: int, candidate: Candidate, made: Image, stage: str, signal: Signal) -> Trial:
    bad = signal is Signal.REPRODUCED
    layers = (
        LayerFacts("leg0", "/dev/nvme0n1", 3, 512),
        LayerFacts("boot", "/dev/mapper/bisector0-boot", 511, 512, "degraded" if bad else "healthy"),
    )
    steps = (StepFacts("probe", 5.2, 5.3, done=True, errno="EIO" if bad else "EINVAL", failed=1),)
    kernel = KernelFacts(made.release, "#1 SMP", made.build_id)
    tools = (("qemu", "7.2.22"), ("lvm", "2.03.16(2)"), ("python", "3.11.2"))
    result = Result("TOKEN", True, kernel, layers, steps, tools=tools)
    reading = Reading(signal, "leg-failed" if bad else "healthy", f"probe: {steps[0].errno}; boot {layers[1].health}")
    if signal is Signal.OTHER_FAILURE:
        reading = Reading(signal, reason="crash: BUG: kernel NULL pointer dereference", fingerprint="oops")
    observation = Observation(Ending.FINISHED, result, timing=Timing(6.1, 2.0, 4.2, 12.3), accel="tcg")
    return Trial(number, candidate, made.identity, "plan", stage, CELL, 1, reading, observation, f"trials/{number}")


def judged(
    candidate: Candidate, made: Image, stage: str, verdict: Verdict, first: int, count: int, other: int = 0
) -> Judgement:
    signal = Signal.REPRODUCED if verdict is Verdict.BAD else Signal.CLEAN
    signals = [Signal.OTHER_FAILURE] * other + [signal] * count
    trials = tuple(trial(first + n, candidate, made, stage, each) for n, each in enumerate(signals))
    reason = f"{count} of {count} trials " + ("reproduced: leg-failed" if verdict is Verdict.BAD else "clean: healthy")
    return Judgement(candidate, verdict, reason, CELL, made.identity, trials)


def source(oid: str, label: str = "", *edits: Edit) -> Candidate:
    return Candidate(TargetKind.KERNEL_SOURCE, oid, edits, label)


GOOD_END = judged(source(GOOD, "v6.17"), image("a", "6.17.0"), "ends", Verdict.GOOD, 1, 2)
BAD_END = judged(source(BAD, "v6.18"), image("b", "6.18.0"), "ends", Verdict.BAD, 3, 1)
SEARCH_GOOD = judged(source(PARENT.parents[0]), image("c", "6.17.0-rc6"), "search", Verdict.GOOD, 4, 2, other=1)
UNBUILT = Judgement(
    source(PARENT.oid),
    Verdict.SKIP,
    "compile failed: block/bio.c:1: error: x undeclared",
    CELL,
    failure=BuildFailure(BuildStage.COMPILE, ("block/bio.c:1: error: x undeclared",), seconds=41.0),
)
SEARCH_BAD = judged(source(CULPRIT.oid), image("d", "6.17.0-rc6"), "search", Verdict.BAD, 7, 1)
PROOF_BAD = judged(source(CULPRIT.oid, "culprit"), image("d", "6.17.0-rc6"), "proof", Verdict.BAD, 8, 6)
PROOF_GOOD = judged(source(PARENT.oid, "culprit^1"), image("e", "6.17.0-rc6"), "proof", Verdict.GOOD, 14, 6)
REVERTED = judged(source(BAD, "v6.18", Edit("revert", CULPRIT.oid)), image("f", "6.18.0"), "proof", Verdict.GOOD, 20, 6)
COMMON = {"good": GOOD_END, "bad": BAD_END, "cell": CELL}
LEFT_OPEN = (
    "the search ran in one cell; the proof was not repeated in guest.drives.vda.aio=threads",
    "whether reverting the commit on the bad end mends it",
    "whether a newer kernel than the bad end has it fixed already",
)
ASSUMED = ("2 clean trials make a candidate good",)
SEARCHED = {"bisect_log": BISECT_LOG, "assumptions": ASSUMED, "unchecked": LEFT_OPEN, **COMMON}
GOOD_PACKAGE = replace(GOOD_END, candidate=Candidate(TargetKind.KERNEL_PACKAGE, "6.17.8-1~bpo13+1", label="6.17.8"))
BAD_PACKAGE = replace(BAD_END, candidate=Candidate(TargetKind.KERNEL_PACKAGE, "6.18.5-1~bpo13+1", label="6.18.5"))

OUTCOMES: dict[str, Outcome] = {
    "culprit": Outcome(
        OutcomeKind.CULPRIT,
        str(CULPRIT),
        CULPRIT,
        proof=(PROOF_BAD, PROOF_GOOD),
        **SEARCHED,  # type: ignore[arg-type]
    ),
    "narrowed": Outcome(
        OutcomeKind.NARROWED,
        f"{CULPRIT} is bad, and whether it came with it is not known: no verdict for its parent {PARENT}",
        suspects=(CULPRIT, PARENT),
        proof=(PROOF_BAD, replace(UNBUILT, candidate=source(PARENT.oid, "culprit^1"))),
        **SEARCHED,  # type: ignore[arg-type]
    ),
    "range": Outcome(
        OutcomeKind.RANGE,
        "6.17.8 is good, 6.18.5 is bad, and no release between them is at hand",
        good=GOOD_PACKAGE,
        bad=BAD_PACKAGE,
        cell=CELL,
        assumptions=("releases stand for the commits between them",),
        unchecked=("which commit between 6.17.8 and 6.18.5 it came with",),
    ),
    "ends_alike": Outcome(
        OutcomeKind.ENDS_ALIKE,
        "both ends are good: v6.17 (2 of 2 trials clean: healthy), v6.18 (2 of 2 trials clean: healthy). Try a longer "
        "workload, more I/O, another cell, or ends further apart",
        good=GOOD_END,
        bad=judged(source(BAD, "v6.18"), image("b", "6.18.0"), "ends", Verdict.GOOD, 3, 2),
        cell=CELL,
    ),
    "unresolved": Outcome(
        OutcomeKind.UNRESOLVED,
        "the end v6.18 cannot be judged: compile failed: drivers/md/dm-raid.c:1: error: x undeclared",
        good=GOOD_END,
        bad=replace(UNBUILT, candidate=source(BAD, "v6.18")),
        cell=CELL,
    ),
    "not_confirmed": Outcome(
        OutcomeKind.NOT_CONFIRMED,
        f"culprit^1 {PARENT} was to be good and is bad in fresh trials: 1 of 1 trials reproduced: leg-failed",
        suspects=(CULPRIT,),
        proof=(PROOF_BAD, replace(PROOF_BAD, candidate=source(PARENT.oid, "culprit^1"))),
        **SEARCHED,  # type: ignore[arg-type]
    ),
}


def side(judgement: Judgement, log: bytes, config: str = "") -> Side:
    shown = judgement.trials[-1]
    made = image("d", shown.observation.result.kernel.release if shown.observation.result else "")
    return Side(judgement, shown, made, excerpt("kernel.log", log, shown), readable(log), config)


def facts(outcome: Outcome, **changes: object) -> Facts:
    """A finished campaign with that outcome."""
    said = [("ends", outcome.good), ("ends", outcome.bad)]
    said += [("search", each) for each in (SEARCH_GOOD, UNBUILT, SEARCH_BAD) if outcome.bisect_log]
    said += [("proof", each) for each in outcome.proof]
    judgements = tuple((stage, each) for stage, each in said if each)
    trials = {each.number: each for _, judgement in judgements for each in judgement.trials}
    bad = [each for _, each in reversed(judgements) if each.verdict is Verdict.BAD and each.trials]
    good = [each for _, each in reversed(judgements) if each.verdict is Verdict.GOOD and each.trials]
    made = Facts(
        campaign=replace(ROW, outcome=outcome),
        outcome=outcome,
        judgements=judgements,
        trials=tuple(trials[number] for number in sorted(trials)),
        others=(OtherFailure("oops", "crash: BUG: kernel NULL pointer dereference", 1, str(SEARCH_GOOD.candidate)),),
        tools=(
            ("compiler", "gcc (Debian 12.2.0-14+deb12u1) 12.2.0"),
            ("make", "GNU Make 4.3"),
            ("qemu", "7.2.22"),
            ("lvm", "2.03.16(2)"),
            ("acceleration", "tcg"),
        ),
        alignment=("leg0: dma_alignment 3, logical block 512", "boot: dma_alignment 511, logical block 512"),
        folder="/nonexistent/campaign",
        bad=side(bad[0], LOG, "CONFIG_MD_RAID1=y\n# CONFIG_BCACHE is not set\n") if bad else None,
        good=side(good[0], LOG[:900]) if good else None,
        builds=tuple(
            (judgement.candidate, judgement.failure or image("d", "6.17.0-rc6")) for _, judgement in judgements
        ),
        spans=tuple(
            Span(
                SpanKind.BUILD if n % 2 else SpanKind.TRIAL,
                f"step {n}",
                n * 60.0,
                n * 60.0 + 45,
                "" if n % 2 else "clean",
            )
            for n in range(8)
        ),
    )
    return replace(made, **changes)  # type: ignore[arg-type]
