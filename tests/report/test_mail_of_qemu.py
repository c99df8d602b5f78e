# SPDX-License-Identifier: GPL-2.0-only
"""A regression of QEMU is none of the kernel's lists', and regzbot hears nothing of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from bisector.model import TargetKind
from bisector.report import claim, recipients
from bisector.report.facts import Facts
from bisector.report.mail import Letter, body
from bisector.search.gitrepo import History
from bisector.system.proc import Processes
from tests.report.test_mail import letter
from tests.report.test_repository import SCRIPT, Repository, culprit


def of_qemu(facts: Facts) -> Facts:
    outcome = facts.outcome
    assert outcome is not None and outcome.bad is not None
    candidate = replace(outcome.bad.candidate, target=TargetKind.QEMU_SOURCE)
    return replace(facts, outcome=replace(outcome, bad=replace(outcome.bad, candidate=candidate)))


def test_no_command_to_regzbot_and_no_word_of_kernels_that_were_booted() -> None:
    of_kernel = letter("culprit")
    assert "#regzbot introduced" in body(of_kernel) and claim.of_kernel(of_kernel.facts)
    made: Letter = replace(of_kernel, facts=of_qemu(of_kernel.facts))
    assert not claim.of_kernel(made.facts)
    assert "#regzbot" not in body(made) and "booting kernels" not in body(made)


def test_its_people_hear_of_it_and_the_kernels_lists_do_not(tmp_path: Path) -> None:
    repository = Repository(tmp_path / "qemu")
    (repository.folder / "scripts").mkdir(parents=True)
    repository.git("init", "-q", "-b", "master")
    refuses = 'die "Unknown option: no-fixes\\n" if grep { $_ eq "--no-fixes" } @ARGV;\n'  # as QEMU's script does
    first, rest = SCRIPT.split("\n", 1)
    (repository.folder / "scripts/get_maintainer.pl").write_text(f"{first}\n{refuses}{rest}")
    repository.commit("base", MAINTAINERS="", block__fops_c="one")
    oid = culprit(repository)
    history, processes = History(repository.folder), Processes(tmp_path / "processes")
    found = recipients.people((history.commit(oid),), history, processes, tree=oid, stable=False, kernel=False)
    assert found.notes == ()
    assert "kbusch@kernel.org" in [each.mail for each in found.to]
    assert recipients.REGRESSIONS not in found.cc
