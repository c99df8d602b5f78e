# SPDX-License-Identifier: GPL-2.0-only
"""What a repository tells a report: who is to hear of it, whether it is fixed, what the newest kernels answered."""

import subprocess
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from bisector.errors import UsageError
from bisector.mail import fixed, recipients
from bisector.mail.draft import Drafts, MailOptions, write
from bisector.mail.letter import body
from bisector.mail.recipients import People
from bisector.mail.send import command, save, send
from bisector.mail.thread import Address
from bisector.model import Edit, Verdict
from bisector.search.gitrepo import History
from bisector.store import Store
from bisector.system.proc import Processes
from bisector.system.sandbox import HOST
from tests.mail.test_mail import golden, letter
from tests.report import case

# Says what the kernel's own script says in this form; that one is tried on a real tree by hand (it needs MAINTAINERS).
SCRIPT = """#!/usr/bin/perl
use strict;
die "not called as expected: @ARGV" unless "@ARGV" =~ /--no-tree .*--roles .*-f block\\/fops\\.c/;
open(my $list, "<", "MAINTAINERS") or die "no MAINTAINERS";
die "the file is not there" unless -e "block/fops.c";
print while <$list>;
"""
MAINTAINERS = """Jens Axboe <axboe@kernel.dk> (maintainer:BLOCK LAYER)
Ming Lei <ming@example.org> (reviewer:BLOCK LAYER)
linux-block@vger.kernel.org (open list:BLOCK LAYER)
secret@example.org (subscriber list:BLOCK LAYER)
linux-kernel@vger.kernel.org (open list)
"""


@dataclass
class Repository:
    folder: Path

    def git(self, *words: str, env: dict[str, str] | None = None) -> str:
        argv = [
            "git",
            "-C",
            str(self.folder),
            "-c",
            "user.name=Keith Busch",
            "-c",
            "user.email=kbusch@kernel.org",
            *words,
        ]
        return subprocess.run(argv, check=True, capture_output=True, text=True, env=env).stdout.strip()

    def commit(self, message: str, **files: str) -> str:
        for name, text in files.items():
            path = self.folder / name.replace("__", "/").replace("_", ".")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", "-m", message)
        return self.git("rev-parse", "HEAD")


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    made = Repository(tmp_path / "linux")
    made.folder.mkdir()
    made.git("init", "-q", "-b", "master")
    (made.folder / "scripts").mkdir()
    (made.folder / "scripts/get_maintainer.pl").write_text(SCRIPT)
    made.commit("base", MAINTAINERS=MAINTAINERS, block__fops_c="one")
    made.git("tag", "v6.17")
    return made


@pytest.fixture
def processes(tmp_path: Path) -> Processes:
    return Processes(tmp_path / "processes")


def culprit(repository: Repository) -> str:
    signed = "\n".join(f"Signed-off-by: {who}" for who in (
        "Keith Busch <kbusch@kernel.org>", "Martin K. Petersen <mkp@example.org>", "nobody", "x <a@b.c> <d@e.f>",
    ))  # fmt: skip
    return repository.commit(f"block: simplify\n\nWhy.\n\n{signed}\n", block__fops_c="two")


def test_author_signers_maintainers_and_lists_hear_of_it(repository: Repository, processes: Processes) -> None:
    oid = culprit(repository)
    history = History(repository.folder)
    found = recipients.people((history.commit(oid),), history, processes, tree=oid, stable=True)
    assert found.notes == ()
    assert [each.mail for each in found.to][:2] == ["kbusch@kernel.org", "mkp@example.org"]
    assert {"axboe@kernel.dk", "ming@example.org"} <= {each.mail for each in found.to}
    lists = [each.mail for each in found.cc]
    assert lists == ["linux-block@vger.kernel.org", "linux-kernel@vger.kernel.org", "regressions@lists.linux.dev",
                     "stable@vger.kernel.org"]  # fmt: skip


def test_a_tree_without_the_script_is_said(repository: Repository, processes: Processes) -> None:
    repository.git("rm", "-q", "scripts/get_maintainer.pl")
    oid = culprit(repository)
    history = History(repository.folder)
    found = recipients.people((history.commit(oid),), history, processes, tree=oid, stable=False)
    assert "get_maintainer.pl" in found.notes[0]
    assert found.to[0].mail == "kbusch@kernel.org"
    assert [each.mail for each in found.cc] == ["regressions@lists.linux.dev"]


# ---- fixed already? ------------------------------------------------------------------------------------------------


def examine(repository: Repository, store: Store, oid: str, **changes: object) -> fixed.FixStatus:
    history = History(repository.folder)
    outcome = replace(case.OUTCOMES["culprit"], culprit=history.commit(oid))
    facts = case.facts(outcome)
    facts = replace(
        facts,
        judgements=store.judgements(facts.campaign.id),
        trials=store.trials(facts.campaign.id),
        of_recipe=store.verdicts(facts.campaign.recipe),
    )
    series = str(changes.pop("series", ""))
    return fixed.examine(facts, history, series=series)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "state")


def test_fixes_and_reverts_on_any_ref_are_found_with_their_releases(repository: Repository, store: Store) -> None:
    oid = culprit(repository)
    repository.git("tag", "v6.18")
    repository.git("checkout", "-q", "-b", "linux-6.18.y")
    repository.commit(f'block: mend it\n\ncommit {"c" * 40} upstream.\n\nFixes: {oid[:12]} ("block: simplify")\n')
    repository.git("tag", "v6.18.3")
    repository.git("checkout", "-q", "master")
    repository.commit(f"unrelated\n\nThis mentions {oid[:12]} in passing.\n")
    fixed_by = repository.commit(f'block: mend it\n\nFixes: {oid[:12]} ("block: simplify")\n')
    repository.git("tag", "v7.0-rc1")
    reverted = repository.commit(f'Revert "block: simplify"\n\nThis reverts commit {oid}.\n')
    repository.git("tag", "v7.0")
    found = examine(repository, store, oid, series="6.18")
    by_kind = {each.kind: each for each in found.later}
    assert set(by_kind) == {"fixes", "revert"}
    assert by_kind["fixes"].commit.oid == fixed_by
    assert set(by_kind["fixes"].inside) == {"v7.0-rc1", "v6.18.3"}
    assert by_kind["revert"].commit.oid == reverted
    assert by_kind["revert"].inside == ("v7.0",)
    assert [(each.tree, each.name, each.verdict) for each in found.newest] == [
        ("mainline", "v7.0", None),
        ("stable", "v6.18.3", None),
    ]
    assert found.hints[0].startswith("#regzbot fix: ")
    text = body(letter("culprit", fixed=found))
    assert "reverts it (in v7.0)" in text
    assert "#regzbot fix" not in text


def test_another_commit_that_begins_alike_is_not_taken(repository: Repository, store: Store) -> None:
    oid = culprit(repository)
    other = oid[:8] + ("0" if oid[8] != "0" else "1") + oid[9:12]
    repository.commit(f'x\n\nFixes: {other} ("something else")\n')
    found = examine(repository, store, oid)
    assert found.looked
    assert found.later == ()


def test_a_backport_is_traced_to_mainline_and_mainlines_fixes(repository: Repository, store: Store) -> None:
    mainline = culprit(repository)
    repository.git("tag", "v6.18")
    repository.commit(f'block: mend\n\nFixes: {mainline[:12]} ("block: simplify")\n')
    repository.git("tag", "v6.19-rc1")
    repository.git("checkout", "-q", "-b", "stable", "v6.17")
    oid = repository.commit(f"block: simplify\n\n[ Upstream commit {mainline} ]\n", block__fops_c="two")
    found = examine(repository, store, oid)
    assert found.upstream is not None
    assert found.upstream.oid == mainline
    assert [(each.kind, each.inside) for each in found.later] == [("fixes", ("v6.19-rc1",))]


def test_the_newest_mainlines_answer_comes_from_a_test_of_the_same_recipe(repository: Repository, store: Store) -> None:
    oid = culprit(repository)
    newest = repository.commit("later")
    repository.git("tag", "-a", "-m", "Linux 7.1-rc2", "v7.1-rc2")
    repository.git("tag", "v7.1-rc1", oid)
    assert [each.verdict for each in examine(repository, store, oid).newest] == [None]
    row = replace(case.ROW, id="test-1", state="test")
    store.add_campaign(row)
    judgement = case.judged(case.source(newest, "v7.1-rc2"), case.image("n", "7.1.0-rc2"), "test", Verdict.BAD, 0, 2)
    for trial in judgement.trials:
        store.add_trial(row.id, trial)
    store.add_judgement(row.id, "test", judgement)
    found = examine(repository, store, oid).newest
    assert [(each.name, each.verdict, each.reproduced, each.conclusive) for each in found] == [
        ("v7.1-rc2", Verdict.BAD, 2, 2)
    ]


@pytest.mark.parametrize(
    ("changes", "cell", "edits", "answers"),
    [
        ({}, case.CELL, (), True),
        ({}, "guest.drives.vda.aio=threads", (), False),
        ({"source": case.ROW.source + "bad_when: something else\n"}, case.CELL, (), False),
        ({"recipe": "another-one"}, case.CELL, (), False),
        ({}, case.CELL, (Edit("revert", "e" * 40),), False),
    ],
)
def test_an_answer_to_another_question_is_none_of_the_newest_mainline(
    repository: Repository,
    store: Store,
    changes: dict[str, str],
    cell: str,
    edits: tuple[Edit, ...],
    answers: bool,
) -> None:
    oid = culprit(repository)
    newest = repository.commit("later")
    repository.git("tag", "v7.1-rc2")
    row = replace(case.ROW, id="test-1", state="test", **changes)  # type: ignore[arg-type]
    store.add_campaign(row)
    tried = case.judged(case.source(newest, "v7.1-rc2", *edits), case.image("n", "7.1"), "test", Verdict.GOOD, 0, 2)
    for trial in tried.trials:
        store.add_trial(row.id, replace(trial, cell=cell))
    store.add_judgement(row.id, "test", replace(tried, cell=cell))
    (found,) = examine(repository, store, oid).newest
    assert (found.verdict is Verdict.GOOD) is answers
    assert found.conclusive == (2 if answers else 0)
    text = body(letter("culprit", fixed=fixed.FixStatus(True, newest=(found,))))
    assert ("v7.1-rc2, is good" in text) is answers
    assert ("whether a newer kernel" in text) is not answers


def test_the_command_to_test_the_newest_mainline_names_the_cell(
    repository: Repository, store: Store, processes: Processes
) -> None:
    row = finished(repository, store)
    repository.commit("later")
    repository.git("tag", "v7.1-rc2")
    notes = [note for note in write(MailOptions(), store, row, processes).notes if "newest mainline" in note]
    assert len(notes) == 1
    assert notes[0].endswith(" --rev v7.1-rc2 --cell guest.drives.vda.aio=native")
    assert notes[0].split("\n")[1].startswith("bisector test ")  # on a line of its own, to be copied


def test_of_many_that_name_the_culprit_fixes_are_looked_up_first_and_the_rest_is_counted(
    repository: Repository, store: Store
) -> None:
    oid = culprit(repository)
    fixed_by = repository.commit(f"mend the first\n\nFixes: {oid[:12]}\n")
    for number in range(fixed.FOLLOWED + 3):
        repository.commit(f"again {number}\n\ncommit {oid} upstream.\n")
    found = examine(repository, store, oid)
    assert [each.commit.oid for each in found.later if each.repairs] == [fixed_by]
    assert len(found.later) == fixed.FOLLOWED
    assert found.left_out == 4
    text = " ".join(body(letter("culprit", fixed=found)).split())
    assert "4 more commits name it; they were not looked at." in text
    assert "not looked at" not in body(letter("culprit", fixed=replace(found, left_out=0)))


# ---- drafts on the disk, and git send-email ------------------------------------------------------------------------


def finished(repository: Repository, store: Store, outcome: str = "culprit") -> case.CampaignRow:
    oid = culprit(repository)
    history = History(repository.folder)
    found = case.OUTCOMES[outcome]
    if found.culprit:
        found = replace(found, culprit=history.commit(oid))
    row = replace(case.ROW, repo=str(repository.folder), good=repository.git("rev-parse", "v6.17"), bad=oid)
    store.add_campaign(row)
    store.finish(row.id, found)
    return store.campaign(row.id)


def home(folder: Path) -> dict[str, str]:
    """A person's git configuration, and nothing that could deliver."""
    folder.mkdir(exist_ok=True)
    (folder / ".gitconfig").write_text(
        "[user]\n\tname = Jane Doe\n\temail = jane@example.org\n[sendemail]\n\tsmtpServer = /nonexistent/sendmail\n"
    )
    return {"HOME": str(folder), "PATH": "/usr/local/bin:/usr/bin:/bin", "GIT_CONFIG_NOSYSTEM": "1"}


def test_a_campaign_becomes_drafts_in_a_folder(
    repository: Repository, store: Store, processes: Processes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", home(tmp_path / "home")["HOME"])
    row = finished(repository, store)
    written = write(MailOptions(to=("More <more@example.org>",), signature="Jane"), store, row, processes)
    paths = save(written, tmp_path / "drafts")
    first = paths[0].read_text()
    assert first.startswith("From: Jane Doe <jane@example.org>\n")
    assert "More <more@example.org>" in first
    assert "axboe@kernel.dk" in first
    assert "stable@vger.kernel.org" not in first
    assert any("newest mainline" in note for note in written.notes)
    (tmp_path / "drafts" / "7-old.eml").write_text("left by an earlier call")
    assert sorted(save(written, tmp_path / "drafts")) == sorted((tmp_path / "drafts").glob("*.eml"))


@pytest.mark.parametrize("outcome", ["ends_alike", "unresolved", "not_confirmed"])
def test_nobody_is_written_to_about_nothing(
    repository: Repository, store: Store, processes: Processes, outcome: str
) -> None:
    row = finished(repository, store, outcome)
    with pytest.raises(UsageError, match="no regression to report"):
        write(MailOptions(), store, row, processes)
    written = write(MailOptions(to=("me@example.org",)), store, row, processes)
    assert [each.mail for each in (*written.mails[0].to, *written.mails[0].cc)] == ["me@example.org"]


def test_an_address_that_is_none_is_refused(repository: Repository, store: Store, processes: Processes) -> None:
    with pytest.raises(UsageError, match="not an address"):
        write(MailOptions(to=("nonsense\nBcc: x@y.z",)), store, finished(repository, store), processes)


@pytest.mark.parametrize("name", case.OUTCOMES)
def test_git_send_email_takes_the_drafts_as_they_are(name: str, tmp_path: Path, processes: Processes) -> None:
    from bisector.mail.letter import drafts

    made = drafts(golden(name))
    paths = save(Drafts(made, ()), tmp_path / "drafts")
    done = processes.run(command(paths, dry=True), access=HOST, cwd=tmp_path, env=home(tmp_path / "home"), check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Result: OK") == len(made)
    assert "Dry-OK" in done.stdout
    wanted = {each.mail for each in (*made[0].to, *made[0].cc)}
    handed = [line.split() for line in done.stdout.split("\n") if line.startswith("Sendmail: ")]
    assert handed
    assert all(set(words[words.index("-i") + 1 :]) == wanted for words in handed)
    for draft in made[1:]:
        assert f"In-Reply-To: {_id(made[0].data)}" in done.stdout, draft.name


def _id(data: bytes) -> str:
    return next(line for line in data.decode().split("\n") if line.startswith("Message-ID:")).split()[1]


def test_nothing_is_sent_when_the_person_says_no(
    repository: Repository, store: Store, processes: Processes, tmp_path: Path
) -> None:
    written = write(MailOptions(), store, finished(repository, store), processes)
    paths = save(written, tmp_path / "drafts")
    questions: list[str] = []

    def no(question: str) -> bool:
        questions.append(question)
        return False

    with pytest.raises(UsageError, match="nothing was sent"):
        send(paths, written, processes, ask=no, folder=tmp_path)
    assert "kbusch@kernel.org" in questions[0]


def test_drafts_in_a_relative_folder_are_sent(
    repository: Repository, store: Store, processes: Processes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tmp_path / "home"
    monkeypatch.setenv("HOME", home(own)["HOME"])
    handed = own / "handed"
    (own / "deliver").write_text(f"#!/bin/sh\ncat >> {handed}\n")
    (own / "deliver").chmod(0o755)
    (own / ".gitconfig").write_text((own / ".gitconfig").read_text().replace("/nonexistent/sendmail", f"{own}/deliver"))
    monkeypatch.chdir(tmp_path)
    written = write(MailOptions(to=("more@example.org",)), store, finished(repository, store), processes)
    paths = save(written, Path("drafts"))
    assert not paths[0].is_absolute()
    send(paths, written, processes, ask=None, folder=repository.folder)
    assert handed.read_text().lower().count("\nmessage-id: ") == len(paths)


def test_a_letter_to_nobody_is_not_sent(processes: Processes, tmp_path: Path) -> None:
    from bisector.mail.letter import drafts

    made = drafts(letter("ends_alike", people=People()))
    written = Drafts(made, ())
    with pytest.raises(UsageError, match="no recipient"):
        send(save(written, tmp_path / "d"), written, processes, ask=None, folder=tmp_path)


def test_people_stand_once_and_in_to_rather_than_cc() -> None:
    found = People((Address("A", "a@x.org"), Address("", "A@X.org")), (Address("", "a@x.org"), Address("", "l@x.org")))
    kept = found.without(["L@x.org"])
    assert (kept.to, kept.cc) == ((Address("A", "a@x.org"),), ())
