# SPDX-License-Identifier: GPL-2.0-only
"""Letters over the case, in threads of every state."""

from dataclasses import replace

from bisector.mail.compose import COLUMNS, LONGEST
from bisector.mail.fixed import FixStatus, LaterCommit, Newest, Tree
from bisector.mail.letter import Letter
from bisector.mail.thread import NEW, Address, Mail, State, Thread
from bisector.model import Commit, Verdict
from bisector.search.refs import MentionKind
from tests.report import case

PARENT = Mail(
    id="<report@example.org>",
    subject="v6.18: virtio-blk on an LVM raid1 LV fails a leg at every VM start",
    sender=(Address("Vjaceslavs Klimovs", "vk@example.org"),),
    to=(Address("", "linux-block@vger.kernel.org"), case.SENDER),
    cc=(Address("Jens Axboe", "axboe@kernel.dk"),),
    text="It fails.\n",
)


FIXED = FixStatus(
    looked=True,
    later=(
        LaterCommit(
            Commit("14b007e17881" + "0" * 28, "block: check user vectors when they are taken"),
            MentionKind.FIXES,
            ("v7.3-rc1",),
        ),
    ),
    newest=(
        Newest(Tree.MAINLINE, "v7.1-rc2", "1" * 40, Verdict.BAD, 2, 2),
        Newest(Tree.NEXT, "next-20261120", "2" * 40),
    ),
)


def letter(outcome: str, thread: Thread = NEW, **changes: object) -> Letter:
    made = Letter(case.facts(case.OUTCOMES[outcome]), thread, case.PEOPLE, sender=case.SENDER, version="0.1.0")
    return replace(made, **changes)  # type: ignore[arg-type]


def thread(state: State, introduced: str = "") -> Thread:
    return NEW if state is State.NEW else Thread(state, PARENT, introduced)


def assert_fits_the_lists(data: bytes, *, columns: int = COLUMNS) -> None:
    data.decode("utf-8")
    headers, _, text = data.partition(b"\n\n")
    assert all(len(line) <= LONGEST for line in data.split(b"\n"))
    assert headers.isascii()
    assert b"\r" not in data
    assert b"\0" not in data
    for line in text.decode().split("\n"):
        assert len(line) <= columns or line.startswith("#regzbot "), line
