# SPDX-License-Identifier: GPL-2.0-only
"""Figures for docs/performance.md. Each is a ratio or a difference against a baseline measured in the same call.

python -m bench help                       the command line's start against a bare python
python -m bench trial --image KERNEL       a trial of the open probe against a bare boot of the same image
python -m bench trial --phases --image KERNEL   where a trial's time goes
python -m bench integrity --image KERNEL   stamp and verify against dd on the same disk, in a VM
python -m bench step --repo REPO           the driver's own time per step, without build and VM
python -m bench sandbox --image KERNEL --repo REPO   a boot and a one-file build with and without the sandbox
python -m bench store                      the store's: a campaign of 2,000 trials listed, looked up, drawn on
python -m bench parallel                   a series and a campaign with 1 to 64 trials at once (20 minutes)
python -m bench ahead                      a simulated search with 1 to 8 builders (7 minutes)
python -m bench slots --repo REPO          a campaign with two trials at once against one, builds ahead as chosen
python -m bench campaign --repo REPO       a whole campaign against a plain script for git bisect run (long)
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from bench import ahead, campaign, sandbox, store_cost, trial
from bisector.agent.plan import File, Layer, Plan, Step
from bisector.campaign.commits import candidate
from bisector.interfaces import CancelToken, ignore
from bisector.model import Candidate, Image, Judgement, Verdict
from bisector.search.clone import PrivateClone
from bisector.search.commits import search
from bisector.search.gitrepo import UserRepository
from bisector.system.proc import Processes
from bisector.trial.run import VmRunner, find_vng

HERE = Path(__file__).parent
BISECTOR = Path(sys.executable).with_name("bisector")


def paired(one: Callable[[], float], other: Callable[[], float], runs: int) -> tuple[list[float], list[float]]:
    """Seconds of both in turn, A B A B, after one uncounted round."""
    one(), other()
    pairs = [(one(), other()) for _ in range(runs)]
    return [a for a, _ in pairs], [b for _, b in pairs]


def timed(argv: Sequence[str | Path], **options: object) -> float:
    """Wall seconds of a command; its output is thrown away."""
    began = time.monotonic()
    subprocess.run(
        argv, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **options
    )  # type: ignore[call-overload]
    return time.monotonic() - began


def with_vng(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment with vng's own programs in PATH: it starts virtme-run by name."""
    return dict(environ) | {"PATH": f"{Path(find_vng(environ)).parent}:{environ.get('PATH', os.defpath)}"}


def show(name: str, seconds: list[float]) -> None:
    """One row: minimum, median, maximum."""
    print(f"{name:<34} {min(seconds):8.3f} {statistics.median(seconds):8.3f} {max(seconds):8.3f} s")


def bench_help(given: argparse.Namespace) -> None:
    """``bisector --help`` against ``python3 -c pass``, the same interpreter."""
    ours, bare = paired(
        lambda: timed([BISECTOR, "--help"]), lambda: timed([sys.executable, "-c", "pass"]), given.runs or 20
    )
    show("bisector --help", ours)
    show("python -c pass", bare)
    print(f"ratio of medians {statistics.median(ours) / statistics.median(bare):.1f} (goal: at most 10)")


def bench_trial(given: argparse.Namespace) -> None:
    """A whole trial of the open probe on raid1 against a bare ``vng --exec /bin/true`` on the same image."""
    if given.phases:
        trial.show_phases(given.image, given.modules, given.runs or 5)
        return
    with tempfile.TemporaryDirectory(prefix="bench-", dir="/var/tmp") as folder:
        ours = trial.Trials(given.image, given.modules, Path(folder))
        home = Path(folder, "home")
        home.mkdir()
        argv = [find_vng(os.environ), "--run", given.image, "--disable-kvm", "--force-9p", "--verbose"]
        argv += ["--memory", "2G", "--cpus", "2", "--exec", "/bin/true"]

        def bare() -> float:
            return timed(argv, env=with_vng(os.environ) | {"HOME": str(home)}, cwd="/")

        trials, boots = paired(lambda: ours.run().seconds, bare, given.runs or 5)
    show("trial, open probe on raid1", trials)
    show("vng --exec /bin/true", boots)
    more = statistics.median(t - b for t, b in zip(trials, boots, strict=True))
    print(f"median difference {more:.1f} s (goal: at most 3)")


def bench_integrity(given: argparse.Namespace) -> None:
    """Sequential stamp and verify, direct, against dd with 1 MiB blocks on the same virtio-blk disk of one VM."""
    script = HERE / "integrity_rate.py"
    step = Step("rate", "run", argv=("/usr/bin/python3", "-I", "-S", f"./{script.name}", "{disk}", ".."))
    plan = Plan(
        steps=(step,),
        layers=(Layer("disk", "disk", "virtio-blk", size=512 << 20),),
        files=(File(script.name, str(script), ""),),
        deadline=900.0,
    )
    work = Path(tempfile.mkdtemp(prefix="bisector-bench-"))
    try:
        image = Image("bench", str(given.image))
        runner = VmRunner(Processes(work / "run"), work, with_vng(os.environ), accel="tcg", boot_deadline=600.0)
        seen = runner.run(image, plan, work / "trial", listener=ignore, cancel=CancelToken())
        facts = seen.result.step("rate") if seen.result else None
        rows = [line.split()[1:] for line in (facts.detail if facts else "").splitlines() if line.startswith("rate ")]
        if not rows:
            raise SystemExit(f"no rates: {seen.ending} {seen.detail} {facts}")
        names = ("dd write", "stamp", "dd read", "verify")
        middle = [statistics.median(float(row[column]) for row in rows) for column in range(4)]
        for name, rate in zip(names, middle, strict=True):
            print(f"{name:<34} {rate:8.0f} MiB/s")
        print(
            f"stamp {middle[1] / middle[0]:.0%} of dd, verify {middle[3] / middle[2]:.0%} of dd (goal: at least 60 %)"
        )
    finally:
        shutil.rmtree(work, ignore_errors=True)


def bench_step(given: argparse.Namespace) -> None:
    """Search with a judge that answers at once: what git, the messenger and our bookkeeping cost a step."""
    user = UserRepository(given.repo[0])
    good, bad = user.resolve("good"), user.resolve("bad")
    order = [commit.oid for commit in user.log(good.oid, bad.oid)]
    culprit = order[len(order) // 2]
    from_culprit = {commit.oid for commit in user.log(f"{culprit}^", bad.oid)}

    def judge(tested: Candidate) -> Judgement:
        return Judgement(tested, Verdict.BAD if tested.revision in from_culprit else Verdict.GOOD, "")

    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        processes = Processes(Path(folder, "processes"))
        clone = PrivateClone.of(user, Path(folder), processes)
        whole = []
        for number in range(given.runs or 5):
            with clone.bisect_worktree(f"bench-{number}") as worktree:
                began = time.monotonic()
                found = search(clone, good, bad, judge, worktree=worktree, processes=processes)
                whole.append((time.monotonic() - began) / len(found.steps))
        show(f"search, per step ({len(found.steps)} steps)", whole)
        worktree, checkouts = Path(folder, "worktree"), []
        clone.checkout(candidate(good), worktree)
        for commit in (bad, good) * 2:
            began = time.monotonic()
            clone.checkout(candidate(commit), worktree)
            checkouts.append(time.monotonic() - began)
        show("checkout, end to end", checkouts)
    print("goal: at most 0.5 s a step without build and VM")


def bench_campaign(given: argparse.Namespace) -> None:
    """Whole campaigns against a plain script."""
    environ = with_vng(os.environ) | {"VNG": find_vng(os.environ)}
    campaign.against_plain(given.repo, given.option, given.ccache, given.work, environ)


def bench_slots(given: argparse.Namespace) -> None:
    """A whole campaign with two trials at once, against one and no build ahead."""
    campaign.with_slots(given.repo[0], given.option, given.ccache, given.work, with_vng(os.environ))


def bench_sandbox(given: argparse.Namespace) -> None:
    """Boots (--image) and one-file builds (--repo, --rev) with and without the sandbox."""
    sandbox.bench(given.image, given.repo[0], given.rev, given.work, with_vng(os.environ), given.runs or 9)


def bench_parallel(given: argparse.Namespace) -> None:
    """Several trials at once."""
    from bench import parallel  # it needs the tests' acted kernels

    parallel.main(given.seconds, tuple(given.slots or parallel.SLOTS), tuple(given.campaigns))


def main(argv: list[str]) -> int:
    """Command line; see the module's first lines."""
    parser = argparse.ArgumentParser("bench", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument(
        "what",
        choices=["help", "trial", "integrity", "step", "campaign", "sandbox", "store", "parallel", "ahead", "slots"],
    )
    parser.add_argument("--image", type=Path)
    parser.add_argument("--modules", type=Path, help="trial: folder that holds lib/modules of the image")
    parser.add_argument("--phases", action="store_true", help="trial: where its time goes")
    parser.add_argument("--repo", type=Path, nargs="+", help="campaign: one history after the other")
    parser.add_argument(
        "--option", action="append", default=[], help="campaign, slots: one more argument of bisector run"
    )
    parser.add_argument("--rev", default="good", help="revision of --repo that is built")
    parser.add_argument("--ccache", type=Path, help="compiler's cache that both campaigns start from a copy of")
    parser.add_argument("--work", type=Path, default=Path("/var/tmp"), help="where both campaigns put their folders")
    parser.add_argument("--runs", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=11.0, help="parallel: length of a trial")
    parser.add_argument("--slots", type=int, nargs="*", help="parallel: of the series")
    parser.add_argument("--campaigns", type=int, nargs="*", default=[16], help="parallel: slots of whole campaigns")
    given = parser.parse_args(argv)
    benches = {"help": bench_help, "trial": bench_trial, "integrity": bench_integrity}
    benches |= {"step": bench_step, "campaign": bench_campaign, "sandbox": bench_sandbox}
    benches["store"] = lambda _: store_cost.main()
    benches["parallel"] = bench_parallel
    benches["slots"] = bench_slots
    benches["ahead"] = lambda _: ahead.main()
    benches[given.what](given)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
