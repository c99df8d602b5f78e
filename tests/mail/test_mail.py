# SPDX-License-Identifier: GPL-2.0-only
"""Drafts: golden ones for six outcomes, what they tell regzbot in every thread, nothing that others made them say."""

import email
import email.policy
import os
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bisector.mail.compose import COLUMNS, LONGEST
from bisector.mail.fixed import FixStatus, LaterCommit
from bisector.mail.letter import Letter, body, drafts
from bisector.mail.thread import NEW, State, Thread
from bisector.model import Commit
from bisector.report.excerpt import excerpt
from bisector.search.refs import MentionKind
from tests.mail.letters import FIXED, PARENT, assert_fits_the_lists, letter, thread
from tests.report import case, reader

DATA = Path(__file__).parent / "data"
CULPRIT = '5ff3f74e145a ("block: simplify direct io validity check")'
TITLE = ("title", "block: opening an LV with cache.direct=on fails a raid1 leg")
PLAIN = ("title", "opening an LV with cache.direct=on fails a raid1 leg")
CLAIMED = ("culprit", "narrowed", "range")


# ---- golden drafts -------------------------------------------------------------------------------------------------


def golden(name: str) -> Letter:
    if name == "culprit":
        return letter(name, fixed=FIXED)
    return letter(name, NEW if name in CLAIMED else thread(State.UNTRACKED))


@pytest.mark.parametrize("name", case.OUTCOMES)
def test_draft_is_the_golden_one(name: str) -> None:
    draft = drafts(golden(name))[0]
    assert_fits_the_lists(draft.data)
    path = DATA / f"{name}.eml"
    if os.environ.get("BISECTOR_WRITE_GOLDEN"):  # then look at what git says has changed
        path.write_bytes(draft.data)
    assert draft.data.decode() == path.read_text()


def test_sections_stand_in_the_order_that_people_answer_to() -> None:
    text = body(golden("culprit"))
    order = [
        "Opening an LV",
        "[    7.946019]",
        "Culprit\n-------",
        "reproduced in 6 of 6",
        "Environment",
        "To reproduce",
        "bisector test",
        "Ends tested",
        "git bisect start",
        "Not checked",
        "Jane Doe runs it",
        "#regzbot",
    ]
    places = [text.index(part) for part in order]
    assert places == sorted(places)


# ---- round trip: what regzbot hears --------------------------------------------------------------------------------


def intended(outcome: str, state: State, introduced: str) -> list[tuple[str, str]]:
    span = {"culprit": CULPRIT, "narrowed": "743bf2e0c49c..5ff3f74e145a", "range": "v6.17.8..v6.18.5"}.get(outcome)
    if span is None:
        return []
    if state is State.NEW:
        return [("introduced", span), TITLE if outcome == "culprit" else PLAIN]
    if state is State.UNTRACKED:
        return [("^introduced", span)]
    news = {
        "7eac33186957": ["culprit"],
        "v6.12..v6.19": ["culprit", "narrowed", "range"],
        "v6.17.8..v6.18.5": ["culprit", "narrowed"],
        "v6.17.9..v6.18.4": ["culprit", "narrowed"],
        "5ff3f74e": [],
        case.CULPRIT.oid: [],
    }
    return [("introduced", span)] if outcome in news[introduced] else []


THREADS = [
    (State.NEW, ""),
    (State.UNTRACKED, ""),
    (State.TRACKED, "7eac33186957"),
    (State.TRACKED, "v6.12..v6.19"),
    (State.TRACKED, "v6.17.8..v6.18.5"),
    (State.TRACKED, "v6.17.9..v6.18.4"),
    (State.TRACKED, "5ff3f74e"),
    (State.TRACKED, case.CULPRIT.oid),
]


@pytest.mark.parametrize("signature", ["", "Jane Doe\nhttps://example.org\n"])
@pytest.mark.parametrize(("state", "introduced"), THREADS)
@pytest.mark.parametrize("outcome", case.OUTCOMES)
def test_regzbot_finds_exactly_the_intended_commands(
    outcome: str, state: State, introduced: str, signature: str
) -> None:
    made = drafts(letter(outcome, thread(state, introduced), signature=signature, fixed=FIXED))
    text = reader.body(made[0].data)
    wanted = intended(outcome, state, introduced)
    assert reader.commands(text) == wanted
    assert text.count("#regzbot") == len(wanted)
    assert not any(reader.commands(reader.body(draft.data)) for draft in made[1:])
    assert text.endswith("\n-- \nJane Doe\nhttps://example.org\n" if signature else "\n\n" if wanted else "\n")


def test_a_mail_programs_signature_does_not_join_the_last_command() -> None:
    data = drafts(letter("culprit"))[0].data + b"-- \nJane\n"
    assert reader.commands(reader.body(data)) == [("introduced", CULPRIT), TITLE]


def test_nothing_is_claimed_by_outcomes_that_found_nothing() -> None:
    for outcome in set(case.OUTCOMES) - set(CLAIMED):
        made = drafts(letter(outcome, thread(State.UNTRACKED)))
        assert "claims no regression" in made[0].body
        assert "first bad commit" not in made[0].body
        assert "REGRESSION" not in made[0].subject
        assert len(made) == 1
        assert {each.mail for each in (*made[0].to, *made[0].cc)}.isdisjoint({"kbusch@kernel.org"})


def test_a_search_for_a_fix_reports_no_regression() -> None:
    outcome = replace(case.OUTCOMES["culprit"], find_fix=True)
    draft = drafts(letter("culprit", facts=case.facts(outcome)))[0]
    assert "Fixed by" in draft.body
    assert not reader.commands(reader.body(draft.data))
    assert "REGRESSION" not in draft.subject


NASTY = st.one_of(
    st.text(max_size=200),
    st.sampled_from(
        [
            "#regzbot fix: 123456789012",
            "a\n\n#regzbot invalid: never\n\nb",
            "x; #regzbot ignore-activity",
            "#REGZBOT poke",
            "\r\n\r\n#regzbot dup-of: x\r\n\r\n",
            "\u2028#regzbot introduced: evil",
            "\x1b[31mred\x1b[0m \x00\x07 \u202e",
            "see http://example.org/x ^ / ~",
            "é" * 700,
            "x" * 5000,
            "-- ",
            "From someone",
            "\ud800",
        ]
    ),
)


@settings(max_examples=150, deadline=None)
@given(NASTY, NASTY, NASTY, NASTY, st.sampled_from(THREADS), st.sampled_from(CLAIMED))
def test_what_others_wrote_says_nothing_to_regzbot(
    subject: str, title: str, line: str, reason: str, where: tuple[State, str], outcome: str
) -> None:
    made = case.facts(case.OUTCOMES[outcome])
    found = made.outcome
    assert found is not None
    culprit = Commit(case.CULPRIT.oid, subject, case.CULPRIT.author, case.CULPRIT.parents)
    changed = replace(
        found,
        culprit=culprit if found.culprit else None,
        summary=reason,
        unchecked=(line, reason),
        assumptions=(title,),
        bisect_log=f"# bad: [{case.BAD}] {subject}\n",
    )
    assert made.bad is not None
    assert made.bad.trial is not None
    log = "\n".join([line, *case.LOG.decode().split("\n")[12:], line, reason]).encode(errors="replace")
    bad = replace(made.bad, excerpt=excerpt("kernel.log", log, made.bad.trial), log=(line,), config=title)
    facts = replace(made, campaign=replace(made.campaign, title=title), outcome=changed, bad=bad)
    later = LaterCommit(Commit("9" * 40, subject), MentionKind.FIXES, (title,))
    for draft in drafts(letter(outcome, thread(*where), facts=facts, fixed=FixStatus(looked=True, later=(later,)))):
        assert_fits_the_lists(draft.data, columns=COLUMNS if draft.name.startswith("0") else LONGEST)
        text = reader.body(draft.data)
        named = [name for name, _ in reader.commands(text)]
        wanted = [name for name, _ in intended(outcome, *where)] if draft.name.startswith("0") else []
        assert named == wanted
        assert not reader.ignored(text)
        parsed = email.message_from_bytes(draft.data, policy=email.policy.default)
        assert not set(parsed.keys()) - {
            "From", "To", "Cc", "Subject", "Message-ID", "In-Reply-To", "References", "MIME-Version", "Content-Type",
            "Content-Transfer-Encoding",
        }  # fmt: skip


def test_a_subject_that_regzbot_would_take_for_a_pointer_goes_without() -> None:
    outcome = case.OUTCOMES["culprit"]
    for subject in ("mm / slab: x", "x: see http://example.org/1 there", "a ^ b", "x ~ y"):
        culprit = replace(case.CULPRIT, subject=subject)
        text = body(letter("culprit", facts=case.facts(replace(outcome, culprit=culprit))))
        assert reader.commands(text)[0] == ("introduced", "5ff3f74e145a")


# ---- headers -------------------------------------------------------------------------------------------------------


def test_an_answer_keeps_subject_people_and_thread_of_its_parent() -> None:
    parent = replace(PARENT, subject="Re: [BUG] é", references=("<a@example.org>", "<b@example.org>"))
    draft = drafts(letter("culprit", Thread(State.UNTRACKED, parent)))[0]
    parsed = email.message_from_bytes(draft.data, policy=email.policy.default)
    assert parsed["Subject"] == "Re: [BUG] é"
    assert parsed["In-Reply-To"] == PARENT.id
    assert str(parsed["References"]).split() == ["<a@example.org>", "<b@example.org>", PARENT.id]
    to = [each.addr_spec for each in parsed["To"].addresses]
    cc = [each.addr_spec for each in parsed["Cc"].addresses]
    assert to[:2] == ["vk@example.org", "linux-block@vger.kernel.org"]
    assert set(to + cc) >= {"kbusch@kernel.org", "axboe@kernel.dk", "regressions@lists.linux.dev"}
    assert case.SENDER.mail not in to + cc
    assert len(to + cc) == len(set(to + cc))


def test_config_and_log_are_answers_to_the_draft() -> None:
    made = drafts(letter("culprit", thread(State.UNTRACKED)))
    assert [draft.name for draft in made] == ["0-report.eml", "1-config.eml", "2-kernel-log.eml"]
    own = email.message_from_bytes(made[0].data)["Message-ID"]
    for draft in made[1:]:
        parsed = email.message_from_bytes(draft.data, policy=email.policy.default)
        assert parsed["In-Reply-To"] == own
        assert str(parsed["References"]).split() == [PARENT.id, own]
        assert not list(parsed.iter_attachments())
    assert "CONFIG_MD_RAID1=y" in made[1].body
    assert "Failing raid device" in made[2].body
    assert len({email.message_from_bytes(draft.data)["Message-ID"] for draft in made}) == 3


def test_a_recipe_of_ones_own_follows_too() -> None:
    made = drafts(letter("culprit", shipped=False))
    assert made[-1].name == "3-recipe.eml"
    assert case.ROW.source.strip() in made[-1].body
    assert "bisector test ./virtio-dio-lvm-raid1.yaml" in made[0].body


def test_a_long_thread_keeps_its_first_and_last_references() -> None:
    ids = tuple(f"<{number}@example.org>" for number in range(10_000))
    draft = drafts(letter("culprit", Thread(State.UNTRACKED, replace(PARENT, references=ids))))[0]
    kept = str(email.message_from_bytes(draft.data)["References"]).split()
    assert kept[0] == ids[0]
    assert kept[-2:] == [ids[-1], PARENT.id]
    assert len("References: " + " ".join(kept)) <= 998
    assert_fits_the_lists(draft.data)


@pytest.mark.parametrize("width", [20, 63, 249])
def test_references_fit_one_line_when_they_are_unfolded(width: int) -> None:
    """git send-email puts a folded header on one line, of at most 998 bytes."""
    ids = tuple(f"<{number:0>{width - 14}}@example.org>" for number in range(40))
    draft = drafts(letter("culprit", Thread(State.UNTRACKED, replace(PARENT, references=ids))))[1]
    parsed = email.message_from_bytes(draft.data)
    kept = str(parsed["References"]).split()
    assert len("References: " + " ".join(kept)) <= 998
    assert kept[0] == ids[0]
    assert kept[-1] == parsed["In-Reply-To"]
    assert kept[1:-2] == list(ids[len(ids) + 3 - len(kept) :])  # none left out between the last ones
    assert len(kept) > 2


def test_a_subject_fits_one_line_when_it_is_unfolded() -> None:
    parent = replace(PARENT, subject="Re: " + "\u20ac" * 490)
    draft = drafts(letter("culprit", Thread(State.UNTRACKED, parent)))[0]
    line = next(line for line in draft.data.replace(b"\n ", b" ").split(b"\n") if line.startswith(b"Subject:"))
    assert 600 < len(line) <= 998
    shown = email.message_from_bytes(draft.data, policy=email.policy.default)["Subject"]
    assert parent.subject.startswith(shown.removesuffix("\u2026"))


def test_long_message_ids_are_folded_and_not_encoded() -> None:
    own = "<" + "x" * 200 + "@example.org>"
    draft = drafts(letter("culprit", Thread(State.UNTRACKED, replace(PARENT, id=own))))[0]
    assert f"In-Reply-To: {own}\n".encode() in draft.data
