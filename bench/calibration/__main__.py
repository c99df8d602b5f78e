# SPDX-License-Identifier: GPL-2.0-only
"""``python -m bench.calibration``: runs the calibration and prints the tables of docs/trust.md."""

from __future__ import annotations

import argparse
import json
import math
import random
import time
from collections import Counter
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from bench.calibration.baselines import bayesect, fixed
from bench.calibration.campaign import Campaign
from bench.calibration.figures import Tally, fewest_trials, lower, table, upper
from bench.calibration.history import History, graph, linear
from bench.calibration.target import Target, World
from bisector.model import OutcomeKind, Signal, Verdict
from bisector.verdict.budget import Budget
from bisector.verdict.rate import Rate
from bisector.verdict.sequential import Belief, Decision, Evidence, decide

RATES = (1.0, 0.5, 0.2, 0.1)
BEYOND = (
    World(0.6, background=0.05),
    World(0.3, background=0.02),
    World(0.9, background=0.3),
    World(1.0, masked="always"),
    World(0.3, masked="always"),
    World(1.0, masked="instead"),
    World(0.5, masked="instead"),
    World(0.3, masked="instead"),
    World(0.2, masked="instead"),
    World(0.1, masked="instead"),
)
"""Backgrounds, and second bugs over part of the range: what the budget's promise was not made for."""

HARNESS = tuple(World(rate, infra=infra, masked="harness") for rate in RATES for infra in (0.05, 0.0, 0.2))
"""The bug shows as a failure of the harness over part of the range, and the harness has that many faults of its own."""

SMALLEST, LARGEST = 30, 1000  # commits of a history, evenly spread on the logarithm


def history(seed: str, *, strand: bool = False) -> History:
    """The history of one seed."""
    chance = random.Random(seed)
    size = round(math.exp(chance.uniform(math.log(SMALLEST), math.log(LARGEST))))
    return linear(size, chance) if strand else graph(size, chance)


def campaigns(world: World, count: int, max_error: float, *, strand: bool = False, first: int = 0) -> Tally:
    """So many campaigns of the product's own decisions; ``first``: the seed of the first of them, the rest follow."""
    tally, began = Tally(), time.monotonic()
    for number in range(first, first + count):
        target = Target(history(f"history {number}", strand=strand), world, str(number))
        ended = Campaign(target, Budget(max_error)).run()
        named = ended.kind in (OutcomeKind.CULPRIT, OutcomeKind.NARROWED)
        tally.campaigns += 1
        tally.wrong += named and target.culprit not in ended.suspects
        tally.kinds[ended.kind.value] += 1
        if target.provable:
            tally.provable += 1
            tally.provable_kinds[ended.kind.value] += 1
        tally.trials += ended.trials
        tally.restarts += ended.restarts
        tally.search_wrong += bool(ended.false_good or ended.false_bad)
        tally.false_bad += ended.false_bad
        tally.p_min_too_high += ended.p_min > world.rate
        tally.infra += target.infra
        tally.other += target.other
        tally.stops += target.stops
        tally.steps += ended.steps
        tally.bits += math.log2(len(target.history) - 1) / count
    tally.seconds = time.monotonic() - began
    return tally


def fixed_rule(world: World, count: int, trials: int) -> dict[str, float]:
    """The rule of a fixed number of trials on the same histories: part wrong, mean trials."""
    wrong = stopped = whole = ends = 0
    for number in range(count):
        target = Target(history(f"history {number}"), world, str(number))
        ended = fixed(target, trials)
        wrong += target.culprit not in ended.suspects
        stopped, whole, ends = stopped + ended.trials, whole + ended.whole, ends + ended.ends
    means = {"stopped": stopped / count, "whole": whole / count, "ends": ends / count}
    return {"trials": trials, "wrong": wrong / count, **means}


def smallest_fixed(world: World, count: int, allowed: float) -> dict[str, float]:
    """n*: the smallest fixed number of trials that is wrong in ``allowed`` of the campaigns at most."""
    low, high = 0, 4
    while (best := fixed_rule(world, count, high))["wrong"] > allowed:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        found = fixed_rule(world, count, middle)
        if found["wrong"] <= allowed:
            best, high = found, middle
        else:
            low = middle
    return best


def bayesect_rule(world: World, count: int, confidence: float, most: int) -> dict[str, float]:
    """git_bayesect on linear histories all of whose commits build."""
    wrong = trials = given_up = 0
    for number in range(count):
        target = Target(history(f"history {number}", strand=True), world, str(number))
        named, used = bayesect(
            target.history, target, random.Random(f"bayesect {number}"), confidence=confidence, most=most
        )
        wrong += named != target.culprit
        given_up += used >= most
        trials += used
    return {"campaigns": count, "wrong": wrong / count, "trials": trials / count, "given_up": given_up / count}


def only_faults(count: int) -> int:
    """Good and bad verdicts that come of ``count`` harness failures in a row, for beliefs near a decision."""
    budget = Budget(0.01)
    verdicts = 0
    for belief in (Belief(budget, Rate(4, 4)), Belief(budget, Rate(8, 80)), Belief(budget, Rate(8, 80)).known_good()):
        nearly = Evidence(clean=belief.clean_needed() - 1)
        for evidence in (Evidence(), nearly, Evidence(other=2)):
            after = evidence
            for _ in range(count // 9 + 1):
                after = after.plus(Signal.INFRA)
                decision = decide(after, belief)
                verdicts += isinstance(decision, Decision) and decision.verdict in (Verdict.GOOD, Verdict.BAD)
    return verdicts


def report(results: dict[str, Any]) -> str:
    """The tables, in Markdown."""
    ours, others, rates = results["ours"], results["fixed"], list(results["ours"])
    parts = [table(
        ("p", "campaigns", "wrong", "95 % bound", "culprit, of provable", "narrowed", "other outcomes", "search erred",
         "restarts", "p_min > p", "stops"),
        [_row(rate, ours[rate]) for rate in rates],
    )]  # fmt: skip
    parts.append(table(
        ("p", "ends", "search", "proof", "fixed 20, half", "n*", "n* search", "search / n*", "n* with ends",
         "with ends / n*", "information bound"),
        [_cost(rate, ours[rate], others[rate], results["max_error"]) for rate in rates],
    ))  # fmt: skip
    rows = [
        (rate, rule["trials"], f"{rule['wrong']:.2%}", rule["stopped"], rule["whole"])
        for rate in rates
        for rule in (*others[rate]["rules"], others[rate]["n_star"])
    ]
    parts.append(table(("p", "trials a step", "wrong", "trials, stopping early", "never stopping"), rows))
    if results.get("bayesect"):
        beside = [
            (rate, found["campaigns"], f"{found['wrong']:.2%}", found["trials"], f"{found['given_up']:.1%}",
             results["strand"][rate].mean("ends", "search"), results["strand"][rate].mean("proof"),
             f"{results['strand'][rate].wrong}/{results['strand'][rate].campaigns}")
            for rate, found in results["bayesect"].items()
        ]  # fmt: skip
        parts.append(table(
            ("p", "campaigns", "git_bayesect wrong", "its trials", "gave up", "ours: ends + search", "proof", "wrong"),
            beside,
        ))  # fmt: skip
    if results["beyond"]:
        parts.append(table(
            ("p", "background", "harness's faults", "second bug", "campaigns", "wrong", "95 % bound",
             "culprit, of provable", "narrowed", "other outcomes", "ends", "search", "proof"),
            [_beyond_row(world, tally) for world, tally in results["beyond"]],
        ))  # fmt: skip
    parts.append(f"Infrastructure faults injected: {results['infra']}; verdicts from {results['only']} in a row: "
                 f"{results['from_faults']}. Other crashes injected: {results['other']}; bad verdicts on good commits: "
                 f"{results['false_bad']}.")  # fmt: skip
    return "\n\n".join(parts)


def _row(rate: str, tally: Tally) -> Sequence[object]:
    culprits = tally.provable_kinds["culprit"]
    rest = {kind: n for kind, n in tally.kinds.items() if kind not in ("culprit", "narrowed")}
    return (
        rate, tally.campaigns, tally.wrong, f"{upper(tally.wrong, tally.campaigns):.2%}",
        f"{culprits}/{tally.provable} = {culprits / tally.provable:.1%} (≥ {lower(culprits, tally.provable):.1%})",
        tally.kinds["narrowed"], rest or "none", f"{tally.search_wrong / tally.campaigns:.1%}",
        f"{tally.restarts / tally.campaigns:.2f}", tally.p_min_too_high, f"{tally.stops / tally.campaigns:.2f}",
    )  # fmt: skip


def _cost(rate: str, tally: Tally, others: dict[str, Any], max_error: float) -> Sequence[object]:
    star, twenty = others["n_star"], others["rules"][-1]
    search, ends = tally.mean("search"), tally.mean("ends")
    bound = fewest_trials(tally.bits, float(rate), World(1.0).other, max_error)
    both = star["stopped"] + star["ends"]
    return (
        rate, ends, search, tally.mean("proof"), twenty["whole"] / 2, star["trials"], star["stopped"],
        f"{search / star['stopped']:.2f}", both, f"{(ends + search) / both:.2f}", bound,
    )  # fmt: skip


def _beyond_row(world: World, tally: Tally) -> Sequence[object]:
    rest = {kind: n for kind, n in tally.kinds.items() if kind not in ("culprit", "narrowed")}
    culprits = f"{tally.provable_kinds['culprit'] / tally.provable:.1%}"
    return (
        f"{world.rate:g}", f"{world.background:g}", f"{world.infra:.0%}", world.masked or "no",
        tally.campaigns, tally.wrong, f"{upper(tally.wrong, tally.campaigns):.2%}", culprits,
        tally.kinds["narrowed"], rest or "none", tally.mean("ends"), tally.mean("search"), tally.mean("proof"),
    )  # fmt: skip


def main() -> None:
    """Parse, run, print."""
    parser = argparse.ArgumentParser(prog="python -m bench.calibration", description=__doc__)
    parser.add_argument("--campaigns", type=int, default=3000, help="a cell")
    parser.add_argument("--max-error", type=float, default=0.01)
    parser.add_argument("--bayesect", type=int, default=300, help="campaigns of git_bayesect a cell; 0 leaves it out")
    parser.add_argument("--beyond", type=int, default=1000, help="campaigns of each world the promise is not made for")
    parser.add_argument("--harness", type=int, default=3000, help="campaigns of each world whose bug fails the harness")
    parser.add_argument("--rates", type=float, nargs="*", default=RATES)
    parser.add_argument("--first", type=int, default=0, help="seed of the first of our campaigns; the rest follow")
    parser.add_argument("--json", type=Path, help="file for the raw figures")
    options = parser.parse_args()
    results: dict[str, Any] = {"max_error": options.max_error, "ours": {}, "fixed": {}, "strand": {}, "bayesect": {}}
    for rate in options.rates:
        world, name = World(rate), f"{rate:g}"
        results["ours"][name] = campaigns(world, options.campaigns, options.max_error, first=options.first)
        print(f"p = {name}: {_row(name, results['ours'][name])}", flush=True)
        rules = [fixed_rule(world, options.campaigns, trials) for trials in (1, 10, 20)]
        star = smallest_fixed(world, options.campaigns, 0.01)
        results["fixed"][name] = {"rules": rules, "n_star": star}
        print(f"p = {name}: n* {star}", flush=True)
        if options.bayesect and find_spec("git_bayesect") is None:
            print("git_bayesect is not installed and is left out: pip install git_bayesect", flush=True)
        elif options.bayesect:
            building = World(rate, unbuildable=0.0)
            results["strand"][name] = campaigns(building, options.bayesect, options.max_error, strand=True)
            results["bayesect"][name] = bayesect_rule(building, options.bayesect, 1 - options.max_error, 4000)
            print(f"p = {name}: git_bayesect {results['bayesect'][name]}", flush=True)
    results["beyond"] = []
    beyond = [(world, options.beyond) for world in BEYOND] + [(world, options.harness) for world in HARNESS]
    for world, count in beyond:
        if not count:
            continue
        results["beyond"].append((world, campaigns(world, count, options.max_error, first=options.first)))
        print(f"{world}: {_beyond_row(*results['beyond'][-1])}", flush=True)
    tallies = [*results["ours"].values(), *results["strand"].values()]
    results["only"], results["from_faults"] = 100_000, only_faults(100_000)
    for name in ("infra", "other", "false_bad"):
        results[name] = sum(getattr(tally, name) for tally in tallies)
    print("\n" + report(results))
    if options.json:
        options.json.write_text(json.dumps(results, default=_plain, indent=1) + "\n", encoding="utf-8")


def _plain(value: object) -> object:
    return (
        vars(value) if isinstance(value, Tally | World) else dict(value) if isinstance(value, Counter) else str(value)
    )


if __name__ == "__main__":
    main()
