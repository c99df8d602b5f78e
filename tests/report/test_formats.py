# SPDX-License-Identifier: GPL-2.0-only
"""Formats for machines and the page for people, each read by a reader that is not ours."""

import json
import re
import shlex
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import jsonschema
import junitparser
import kcidb_io
import pytest

from bisector.causes import BuildStage
from bisector.model import BuildFailure, Edit, Reading, Signal, Verdict
from bisector.report import formats, html, json_format, picture
from bisector.report.facts import Facts, _with_note, gather
from bisector.report.live import LiveStatus
from bisector.report.text import _command
from bisector.store import Store
from bisector.system.sandbox import CONFINED, NOTE, UNCONFINED
from tests.report import case

DOCS = Path(__file__).parent.parent.parent / "docs"
EVIL = '\x1b[31m<script>alert(1)</script>\x00 "quoted" & \u202e # SKIP ]]> {{ 7 * 7 }} </pre> \ud800'


def hostile(outcome: str = "culprit") -> Facts:
    """The case, with text of an attacker wherever a kernel, a commit or a recipe can put one."""
    made = case.facts(case.OUTCOMES[outcome])
    assert made.outcome is not None
    judgements = tuple((stage, replace(j, reason=EVIL, cell=EVIL)) for stage, j in made.judgements)
    trials = tuple(replace(t, reading=replace(t.reading, reason=EVIL), cell=EVIL) for t in made.trials)
    broken = tuple(
        (c, BuildFailure(BuildStage.COMPILE, (EVIL,)) if isinstance(m, BuildFailure) else m) for c, m in made.builds
    )
    found = replace(
        made.outcome, summary=EVIL, assumptions=(EVIL,), unchecked=(EVIL,), bisect_log=EVIL,
        culprit=replace(case.CULPRIT, subject=EVIL) if made.outcome.culprit else None,
    )  # fmt: skip
    return replace(
        made, campaign=replace(made.campaign, title=EVIL, source=EVIL), outcome=found, judgements=judgements,
        trials=trials, builds=broken, tools=((EVIL, EVIL),),
    )  # fmt: skip


EVERY = [*case.OUTCOMES, "hostile", "unfinished", "empty", "infra"]


def facts(name: str) -> Facts:
    if name == "hostile":
        return hostile()
    if name in case.OUTCOMES:
        return case.facts(case.OUTCOMES[name])
    made = replace(case.facts(case.OUTCOMES["culprit"]), outcome=None)
    made = replace(made, campaign=replace(made.campaign, state="running", outcome=None))
    if name == "empty":
        return replace(made, judgements=(), trials=(), builds=(), spans=(), bad=None, good=None, others=())
    if name == "infra":
        broken = replace(made.trials[0], reading=Reading(Signal.INFRA, reason="QEMU was killed by signal 9"))
        return replace(made, trials=(broken, *made.trials[1:]))
    return made


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("kind", formats.ENDINGS)
def test_every_format_takes_every_campaign(kind: str, name: str, tmp_path: Path) -> None:
    path = formats.save(kind, facts(name), tmp_path)
    assert path.read_bytes().decode("utf-8").endswith("\n")


@pytest.mark.parametrize("name", case.OUTCOMES)
def test_the_bisect_log_of_the_text_fits_and_can_be_copied(name: str) -> None:
    text = formats.render("text", facts(name))
    assert all(len(line) <= 80 for line in text.splitlines())
    log = case.OUTCOMES[name].bisect_log
    if log:
        said = text.partition("git bisect log:\n")[2].partition("\n\n")[0].replace("\\\n", " ").splitlines()
        commands = [shlex.split(line) for line in log.splitlines() if not line.startswith("#")]
        assert [shlex.split(line) for line in said if not line.startswith("  #")] == commands


# ---- json ----------------------------------------------------------------------------------------------------------


def test_the_schema_in_docs_is_current() -> None:
    assert (DOCS / "report.schema.json").read_text() == json_format.schema_text(), "run 'make schema'"


@pytest.mark.parametrize("name", EVERY)
def test_the_json_report_follows_its_schema(name: str) -> None:
    schema = json.loads(json_format.schema_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    document = json.loads(formats.render("json", facts(name)))
    jsonschema.Draft202012Validator(schema).validate(document)
    assert document["schema"] == "bisector.campaign/1"
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(schema).validate({**document, "schema": "bisector.campaign/2"})


def test_trials_that_were_not_needed_are_shown_apart_and_never_counted() -> None:
    made = facts("culprit")
    more = tuple(replace(made.trials[place], number=0, folder=f"trials/ahead-{place}") for place in (0, 2, 3))
    found = replace(made, ahead=more)
    line = "3 trials that ran ahead were not needed (2 in ends, 1 in search): kept, not counted"
    assert line in " ".join(formats.render("text", found).split())
    assert f"{line}." in formats.render("html", found)
    document = json.loads(formats.render("json", found))
    assert document.pop("ahead")[1] == {
        "candidate": "v6.18", "stage": "ends", "signal": "reproduced", "folder": "trials/ahead-2",
    }  # fmt: skip
    assert document == {
        name: value for name, value in json.loads(formats.render("json", made)).items() if name != "ahead"
    }
    for kind in ("junit", "ktap", "kcidb"):
        assert formats.render(kind, found) == formats.render(kind, made)


# ---- junit ---------------------------------------------------------------------------------------------------------


def test_junit_counts_what_each_kernel_did() -> None:
    root = junitparser.TestSuite.fromstring(formats.render("junit", facts("culprit")))
    assert (root.name, root.tests, root.failures, root.skipped, root.errors) == (case.ROW.id, 7, 3, 1, 0)
    suites = list(root.testsuites())
    assert [suite.name for suite in suites] == ["ends", "search", "proof"]
    cases = {found.name: found for suite in suites for found in suite}
    (failure,) = cases["v6.18 [guest.drives.vda.aio=native]"].result
    assert isinstance(failure, junitparser.Failure)
    (skipped,) = cases["20a0e6276edb [guest.drives.vda.aio=native]"].result
    assert isinstance(skipped, junitparser.Skipped)
    assert cases["v6.17 [guest.drives.vda.aio=native]"].is_passed
    assert "Failing raid device" in (cases["culprit (5ff3f74e145a) [guest.drives.vda.aio=native]"].system_out or "")


@pytest.mark.parametrize("name", EVERY)
def test_junit_is_xml_whatever_was_logged(name: str) -> None:
    root = junitparser.TestSuite.fromstring(formats.render("junit", facts(name)))
    assert root.tests == len(facts(name).judgements)


# ---- ktap ----------------------------------------------------------------------------------------------------------

LINE = re.compile(r"(?P<result>ok|not ok) (?P<number>\d+)(?: (?P<name>[^#]*?))?(?: # (?P<directive>SKIP\b)?.*)?")


def read_ktap(lines: list[str], indent: str = "") -> list[tuple[str, str, list[object]]]:
    """(result, name, subtests) of one level; asserts what ktap.rst demands of it."""
    assert lines.pop(0) == f"{indent}KTAP version 1"
    while lines[0].startswith(f"{indent}#"):
        lines.pop(0)
    count = int(re.fullmatch(rf"{indent}1\.\.(\d+)", lines.pop(0))[1])  # type: ignore[index]
    found: list[tuple[str, str, list[object]]] = []
    inner: list[object] = []
    while len(found) < count:
        line = lines[0].removeprefix(indent)
        if line.startswith("  KTAP"):
            inner = list(read_ktap(lines, indent + "  "))
            continue
        lines.pop(0)
        if line.startswith("#"):
            continue
        match = LINE.fullmatch(line)
        assert match, line
        assert int(match["number"]) == len(found) + 1
        result = "skip" if match["directive"] else match["result"]
        found.append((result, match["name"], inner))
        inner = []
    return found


@pytest.mark.parametrize("name", EVERY)
def test_ktap_follows_its_grammar(name: str) -> None:
    text = formats.render("ktap", facts(name))
    lines = text.rstrip("\n").split("\n")
    found = read_ktap(lines)
    assert all(line.startswith("#") for line in lines)
    judgements = facts(name).judgements
    assert [len(inner) for _, _, inner in found] == [
        sum(stage == wanted for stage, _ in judgements) for wanted in dict.fromkeys(stage for stage, _ in judgements)
    ]
    results = [result for _, _, inner in found for result, *_ in inner]  # type: ignore[attr-defined]
    wanted = {Verdict.GOOD: "ok", Verdict.BAD: "not ok"}
    assert results == [wanted.get(judgement.verdict, "skip") for _, judgement in judgements]
    for result, _, inner in found:
        assert (result == "not ok") is any(each[0] == "not ok" for each in inner)  # type: ignore[index]


# ---- kcidb ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", EVERY)
def test_kcidb_takes_it(name: str) -> None:
    document = json.loads(formats.render("kcidb", facts(name)))
    kcidb_io.schema.LATEST.validate(document)
    checkouts = {each["id"] for each in document["checkouts"]}
    builds = {each["id"] for each in document["builds"]}
    tests = {each["id"] for each in document["tests"]}
    assert {each["checkout_id"] for each in document["builds"]} <= checkouts
    assert {each["build_id"] for each in document["tests"]} <= builds
    assert {each["test_id"] for each in document["incidents"]} <= tests
    assert len(builds) == len(document["builds"])
    assert len(tests) == len(facts(name).trials)


def test_kcidb_names_the_culprit_as_an_issue_and_no_other_outcome_as_one() -> None:
    for name in case.OUTCOMES:
        document = json.loads(formats.render("kcidb", facts(name)))
        assert bool(document["issues"]) is (name == "culprit")
    document = json.loads(formats.render("kcidb", facts("culprit")))
    present = [each["present"] for each in document["incidents"]]
    assert (present.count(True), present.count(False)) == (6, 6)
    assert [each["status"] for each in document["tests"]].count("MISS") == 0
    broken = json.loads(formats.render("kcidb", facts("infra")))
    assert [each["status"] for each in broken["tests"]].count("MISS") == 1


# ---- html ----------------------------------------------------------------------------------------------------------


class Page(HTMLParser):
    """Collects tags, attributes and text, and asserts that what is opened is closed in its place."""

    VOID = frozenset({"meta", "br", "link", "img", "input", "hr"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.text: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


@pytest.mark.parametrize("name", EVERY)
def test_the_page_needs_nothing_else_and_runs_nothing(name: str) -> None:
    text = formats.render("html", facts(name))
    page = Page(text)
    assert not {"script", "iframe", "object", "embed", "link", "img", "base", "form"} & set(page.tags)
    for _, attribute, value in page.attributes:
        assert attribute not in ("src", "href", "action")
        assert not attribute.startswith("on")
        assert "url(" not in value
    assert "url(" not in text
    assert "@import" not in text


@pytest.mark.parametrize("made", [hostile(), facts("unfinished"), facts("empty")])
def test_a_page_of_a_campaign_that_runs_has_one_script_and_it_is_ours(made: Facts) -> None:
    live = LiveStatus((EVIL, "v6.18: build 43% 12 s"), 1795248000.0)
    text = formats.printable(html.render(made, live))
    page = Page(text)
    assert page.tags.count("script") == 1
    assert f"<script>{live.script}</script>" in text
    assert "As of 08:00:00 UTC." in "".join(page.text)


def test_what_a_kernel_wrote_stays_text() -> None:
    text = formats.render("html", hostile())
    page = Page(text)
    assert "<script>alert(1)</script>" in "".join(page.text)
    assert "49" not in re.findall(r"\{\{ 7 \* 7 \}\}|\b49\b", "".join(page.text))
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f\u202e]", text)


def test_the_page_tells_the_whole_story() -> None:
    made = facts("culprit")
    text = "".join(Page(formats.render("html", made)).text)
    assert case.CULPRIT.subject in text
    assert "Failing raid device" in text
    assert "probe: EINVAL; boot healthy" in text
    assert "whether reverting the commit on the bad end mends it" in text
    assert "git bisect start" in text
    for _, judgement in made.judgements:
        assert judgement.reason in text


def test_each_candidate_stands_in_the_picture_with_a_mark_for_each_trial() -> None:
    made = facts("culprit")
    page = Page(formats.render("html", made))
    shapes = [value for tag, name, value in page.attributes if name == "class" and tag in ("circle", "rect", "path")]
    verdicts = [judgement.verdict.value for _, judgement in made.judgements]
    for verdict in ("good", "bad", "skip"):
        assert shapes.count(verdict) == verdicts.count(verdict)
    lanes = sum(span.ended == "clean" for span in made.spans)
    assert shapes.count("reproduced") == sum(t.reading.signal is Signal.REPRODUCED for t in made.trials)
    assert shapes.count("clean") == sum(t.reading.signal is Signal.CLEAN for t in made.trials) + lanes
    assert shapes.count("ring") == 2  # in the search, and in the proof


def test_places_stay_within_the_picture() -> None:
    for name in EVERY:
        page = Page(formats.render("html", facts(name)))
        places = [
            float(value[:-1]) for _, key, value in page.attributes if key in ("x", "width") and value.endswith("%")
        ]
        assert all(0 <= place <= 100 for place in places)


@pytest.mark.parametrize("stage", ["ends", "ends-longer", "search", "proof-2", "fixed"])
def test_a_row_fits_a_phone(stage: str) -> None:
    """400 pixels less margins are 354, a letter of the 12-pixel type is 7.22 wide: 49 letters."""
    made = facts("culprit")
    revert, apply = Edit("revert", case.CULPRIT.oid), Edit("apply", case.CULPRIT.oid)
    candidates = (
        case.source(case.BAD, "the bad end", revert),
        case.source(case.GOOD, "the good end", apply),
        case.source(case.BAD, "a label that somebody made long for no reason"),
        case.source(case.BAD),
    )
    judgements = tuple((stage, replace(case.BAD_END, candidate=each)) for each in candidates)
    for row in picture.funnel(replace(made, judgements=judgements)):
        assert len(f"{row.number:2} {row.stage:<6} {row.name} {row.verdict} 120/120") <= 49, row.name
    if len(stage) <= 6:
        names = [row.name for row in picture.funnel(replace(made, judgements=judgements))]
        assert names[:2] == ["bad end less 5ff3f74e145a", "good end plus 5ff3f74e145a"]


def test_styles_know_the_dark_the_phone_and_paper() -> None:
    text = formats.render("html", facts("culprit"))
    for query in ("(prefers-color-scheme: dark)", "(max-width: 700px)", "print"):
        assert f"@media {query}" in text
    assert 'name="viewport" content="width=device-width' in text
    colours = [set(re.findall(r"--(\w+):", block)) for block in re.findall(r":root \{([^}]*)\}", text)]
    assert len(colours) == 3
    assert colours[0] == colours[1] == colours[2]  # none of the light ones is left over in the dark or on paper


def test_a_command_is_never_broken_inside_its_quotes() -> None:
    command = "bisector run virtio-open-lvm-raid1 --repo /a/path/of/length --on 'oops: f < g < h with blanks in it'"
    lines = _command(command)
    assert all(line.endswith(" \\") for line in lines[:-1])
    assert all(len(line) <= 80 for line in lines)
    assert shlex.split(" ".join(line.removesuffix("\\") for line in lines)) == shlex.split(command)
    assert "'oops: f < g < h with blanks in it'" in lines[-1]


@pytest.mark.parametrize("name", ["culprit", "unfinished", "test"])
@pytest.mark.parametrize("kind", formats.ENDINGS)
def test_every_format_says_that_the_sandbox_was_off(kind: str, name: str) -> None:
    made = facts("unfinished" if name == "test" else name)
    if name == "test":
        made = replace(made, campaign=replace(made.campaign, state="test"))
    tools = (*made.tools, ("sandbox", UNCONFINED.describe()))
    noted = replace(made, outcome=_with_note(made.outcome, NOTE), note=NOTE, tools=tools)
    assert "--no-sandbox" in formats.render(kind, noted)
    assert "--no-sandbox" not in formats.render(kind, made)


def test_what_confined_the_trials_is_read_from_the_store(tmp_path: Path) -> None:
    made = case.facts(case.OUTCOMES["culprit"])
    store = Store(tmp_path)
    store.add_campaign(made.campaign)
    store.finish(made.campaign.id, case.OUTCOMES["culprit"])
    for number, sandbox in enumerate((CONFINED, UNCONFINED)):
        observation = replace(made.trials[number].observation, sandbox=sandbox.describe())
        store.add_trial(made.campaign.id, replace(made.trials[number], observation=observation))
        gathered = gather(store, store.campaign(made.campaign.id))
        assert gathered.outcome is not None
        assert (gathered.note != "") == (NOTE in gathered.outcome.assumptions) == sandbox.off
    assert dict(gathered.tools)["sandbox"] == "bubblewrap, none (--no-sandbox)"
