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

from bisector.model import Commit, ConsoleEvent, OutcomeKind, Signal, Verdict
from bisector.report.compose import COLUMNS, LONGEST
from bisector.report.excerpt import LINES, excerpt
from bisector.report.facts import Facts
from bisector.report.fixed import Fixed, Later, Newest
from bisector.report.mail import Letter, body, drafts
from bisector.report.thread import NEW, Address, Mail, State, Thread
from tests.report import case, reader

DATA = Path(__file__).parent / "data"
CULPRIT = '5ff3f74e145a ("block: simplify direct io validity check")'
TITLE = ("title", "block: opening an LV with cache.direct=on fails a raid1 leg")
PLAIN = ("title", "opening an LV with cache.direct=on fails a raid1 leg")
CLAIMED = ("culprit", "narrowed", "range")
PARENT = Mail(
    id="<report@example.org>",
    subject="v6.18: virtio-blk on an LVM raid1 LV fails a leg at every VM start",
    sender=(Address("Vjaceslavs Klimovs", "vk@example.org"),),
    to=(Address("", "linux-block@vger.kernel.org"), case.SENDER),
    cc=(Address("Jens Axboe", "axboe@kernel.dk"),),
    text="It fails.\n",
)
FIXED = Fixed(
    looked=True,
    later=(
        Later(
            Commit("14b007e17881" + "0" * 28, "block: check user vectors when they are taken"), "fixes", ("v7.3-rc1",)
        ),
    ),
    newest=(
        Newest("mainline", "v7.1-rc2", "1" * 40, Verdict.BAD, 2, 2),
        Newest("next", "next-20261120", "2" * 40),
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
    told = {"culprit": CULPRIT, "narrowed": "743bf2e0c49c..5ff3f74e145a", "range": "v6.17.8..v6.18.5"}.get(outcome)
    if told is None:
        return []
    if state is State.NEW:
        return [("introduced", told), TITLE if outcome == "culprit" else PLAIN]
    if state is State.UNTRACKED:
        return [("^introduced", told)]
    news = {
        "7eac33186957": ["culprit"],
        "v6.12..v6.19": ["culprit", "narrowed", "range"],
        "v6.17.8..v6.18.5": ["culprit", "narrowed"],
        "v6.17.9..v6.18.4": ["culprit", "narrowed"],
        "5ff3f74e": [],
        case.CULPRIT.oid: [],
    }
    return [("introduced", told)] if outcome in news[introduced] else []


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
    later = Later(Commit("9" * 40, subject), "fixes", (title,))
    for draft in drafts(letter(outcome, thread(*where), facts=facts, fixed=Fixed(looked=True, later=(later,)))):
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
    assert len(kept) <= 25
    assert_fits_the_lists(draft.data)


def test_long_message_ids_are_folded_and_not_encoded() -> None:
    own = "<" + "x" * 200 + "@example.org>"
    draft = drafts(letter("culprit", Thread(State.UNTRACKED, replace(PARENT, id=own))))[0]
    assert f"In-Reply-To: {own}\n".encode() in draft.data


# ---- the error and the figures -------------------------------------------------------------------------------------


def test_the_error_is_at_most_forty_lines_around_the_decisive_one() -> None:
    made = case.facts(case.OUTCOMES["culprit"])
    assert made.bad is not None
    trial = made.bad.trial
    assert trial is not None
    noise = [
        f"[   {n}.000000] {'abcdefghijklmnop'[n % 16] * (n % 37 + 1)}: word{chr(97 + n % 26)} x" for n in range(900)
    ]
    fatal = "[  450.500000] nvme1n1: I/O Cmd(0x2) @ LBA 2055, 0 blocks, I/O Error"
    log = ["[    1.0] bisector T begin", "[    1.1] bisector T step probe begin", *noise[:450], fatal, *noise[450:]]
    event = replace_event(trial, fatal)
    shown = excerpt("console.log", "\r\n".join(log).encode(), event)
    assert fatal in shown.lines
    assert len(shown.lines) <= LINES
    assert shown.left_out > 800


def replace_event(trial: case.Trial, text: str) -> case.Trial:
    event = ConsoleEvent(9.0, "vm", "watch", "zero-length-command/0", text)
    return replace(
        trial,
        reading=replace(trial.reading, condition="zero-length-command"),
        observation=replace(trial.observation, console=(event,)),
    )


@pytest.mark.parametrize("decisive", [0, 25, 59])
def test_long_lines_do_not_make_more_than_forty_of_the_mail(decisive: int) -> None:
    lines = [f"[    1.{n:06}] {'abcdefgh'[n % 8] * 9} {'x' * 30} {'y' * 30} {'z' * 30}{n:c}" for n in range(200, 260)]
    lines[decisive] = f"[    2.000000] the line that decided {'x' * 40} {'y' * 40}"
    facts = case.facts(case.OUTCOMES["culprit"])
    assert facts.bad is not None and facts.bad.trial is not None
    event = ConsoleEvent(1.0, "vm", "watch", "leg-failed/0", lines[decisive])
    shown = replace(facts.bad.trial, observation=replace(facts.bad.trial.observation, console=(event,)))
    bad = replace(facts.bad, trial=shown, excerpt=excerpt("kernel.log", "\n".join(lines).encode(), shown))
    text = body(letter("culprit", facts=replace(facts, bad=bad)))
    error = text.split("\n\n")[1].split("\n")
    assert 30 < len(error) <= 40
    assert sum("the line that decided" in line for line in error) == 1


def test_how_sure_it_is_stands_with_the_culprit() -> None:
    sure = "chance of error below 0.5 % for a bug that reproduces in at least 40% of trials"
    outcome = case.OUTCOMES["culprit"]
    told = replace(outcome, summary=f"{case.CULPRIT}: reproduced 6/6 at culprit; {sure}")
    found = body(letter("culprit", facts=case.facts(told)))
    assert sure in " ".join(found.partition("Environment\n")[0].split())
    assert "chance of error" not in body(letter("culprit"))


def test_a_culprit_applied_to_the_good_end_is_told_as_that() -> None:
    outcome = case.OUTCOMES["culprit"]
    applied = replace(
        case.PROOF_BAD, candidate=case.source(case.GOOD, "the good end", case.Edit("apply", case.CULPRIT.oid))
    )
    text = body(letter("culprit", facts=case.facts(replace(outcome, proof=(*outcome.proof, applied)))))
    assert "with it applied on the good end   bad, reproduced in 6 of 6 trials" in text
    assert "revert on top of the bad end      not tested" in text


def test_repeated_lines_are_told_once_and_counted() -> None:
    made = case.facts(case.OUTCOMES["culprit"])
    assert made.bad is not None
    lines = made.bad.excerpt.lines
    assert sum("rescheduling sector" in line for line in lines) <= 3
    assert any("lines left out" in line for line in lines)
    assert lines[-1].endswith("Operation continuing on 1 devices.")
    assert not any("bisector TOKEN" in line for line in lines)


def test_a_revert_on_the_bad_end_is_told_with_its_figures() -> None:
    outcome = case.OUTCOMES["culprit"]
    without = body(letter("culprit"))
    assert "revert on top of the bad end      not tested" in without
    tested = replace(outcome, proof=(*outcome.proof, case.REVERTED))
    text = body(letter("culprit", facts=case.facts(tested)))
    assert "revert on top of the bad end      good, reproduced in 0 of 6 trials" in text


def test_newest_mainline_is_said_tested_or_not() -> None:
    tested = body(letter("culprit", fixed=FIXED))
    assert "v7.1-rc2, is bad (2 of\n    2 trials reproduced)" in tested or "v7.1-rc2, is bad" in tested
    assert "next-20261120, was not tested" in tested
    assert "#regzbot fix" not in tested
    assert "whether a newer kernel" not in tested
    untested = body(letter("culprit", fixed=Fixed(looked=True, newest=(Newest("mainline", "v7.1", "1" * 40),))))
    assert "v7.1, was not tested" in untested
    assert "whether a newer kernel" in untested


def test_a_backport_names_its_upstream_commit() -> None:
    upstream = Commit("b" * 40, "block: simplify direct io validity check")
    text = body(letter("culprit", fixed=Fixed(looked=True, upstream=upstream)))
    assert "Upstream commit: bbbbbbbbbbbb (" in text


def test_signals_and_outcomes_of_the_case_are_what_the_tests_say() -> None:
    facts: Facts = case.facts(case.OUTCOMES["culprit"])
    assert facts.outcome is not None
    assert facts.outcome.kind is OutcomeKind.CULPRIT
    assert facts.bad is not None
    assert facts.bad.trial is not None
    assert facts.bad.trial.reading.signal is Signal.REPRODUCED


def test_a_message_of_several_lines_is_shown_as_several() -> None:
    made = case.facts(case.OUTCOMES["culprit"])
    assert made.bad is not None
    assert made.bad.trial is not None
    shown = excerpt("kernel.log", rb"[    8.0] md: Disk failure.\x0amd: Operation continuing." + b"\n", made.bad.trial)
    assert shown.lines == ("[    8.0] md: Disk failure.", "md: Operation continuing.")
