# SPDX-License-Identifier: GPL-2.0-only
"""A regression of QEMU is none of the kernel's lists', and regzbot hears nothing of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from bisector.mail import recipients, regression
from bisector.mail.letter import Letter, body
from bisector.model import TargetKind
from bisector.report.facts import Facts
from bisector.search.gitrepo import History
from bisector.system.proc import Processes
from tests.mail.test_mail import letter
from tests.mail.test_repository import Repository, culprit

# What QEMU's own script needs before it answers.
QEMU_SCRIPT = r"""#!/usr/bin/perl
sub top_of_tree { return -f "COPYING" && -f "Makefile" && -f "VERSION" && -d "docs" && -d "softmmu"; }
die "not at the top" unless top_of_tree();
die "Unknown option" if "@ARGV" =~ /--no-(tree|fixes)/;
print "Kevin Wolf <kwolf\@example.org> (supporter:Block layer core)\n";
print "qemu-block\@example.org (open list:Block layer core)\n";
"""


def of_qemu(facts: Facts) -> Facts:
    outcome = facts.outcome
    assert outcome is not None and outcome.bad is not None
    candidate = replace(outcome.bad.candidate, target=TargetKind.QEMU_SOURCE)
    return replace(facts, outcome=replace(outcome, bad=replace(outcome.bad, candidate=candidate)))


def test_no_command_to_regzbot_and_no_word_of_kernels_that_were_booted() -> None:
    of_kernel = letter("culprit")
    assert "#regzbot introduced" in body(of_kernel) and regression.of_kernel(of_kernel.facts)
    made: Letter = replace(of_kernel, facts=of_qemu(of_kernel.facts))
    assert not regression.of_kernel(made.facts)
    assert "#regzbot" not in body(made) and "booting kernels" not in body(made)


def test_its_people_hear_of_it_and_the_kernels_lists_do_not(tmp_path: Path) -> None:
    repository = Repository(tmp_path / "qemu")
    (repository.folder / "scripts").mkdir(parents=True)
    repository.git("init", "-q", "-b", "master")
    (repository.folder / "scripts/get_maintainer.pl").write_text(QEMU_SCRIPT)
    repository.commit("base", MAINTAINERS="", block__fops_c="one")
    oid = culprit(repository)
    history, processes = History(repository.folder), Processes(tmp_path / "processes")
    found = recipients.people((history.commit(oid),), history, processes, tree=oid, stable=False, kernel=False)
    assert found.notes == ()
    assert {"kwolf@example.org", "kbusch@kernel.org"} <= {each.mail for each in found.to}
    assert [each.mail for each in found.cc] == ["qemu-block@example.org"]
