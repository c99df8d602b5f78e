# SPDX-License-Identifier: GPL-2.0-only
"""What slots did that no trial tells is noted with its true times."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from bisector.execute.work import Work
from bisector.interfaces import Listener, Phase, Progress, ignore, with_context
from bisector.stage import Stage
from bisector.store import CampaignRow, Store, WorkRow
from bisector.work_log import WorkLog


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store(tmp_path)
    made.add_campaign(CampaignRow("c", "r", "t", "", "", "", "", False, "", 1.0, "running"))
    yield made
    made.close()


def heard(store: Store, slot: str, at: list[float], worker: str = "", stage: str = "search") -> Listener:
    log = WorkLog(store, "c", clock=lambda: at[0])
    return with_context(log.beside(ignore), candidate="v6.18", stage=stage, work=Work(slot, worker))


def test_a_build_is_noted_from_its_first_event_to_its_end(store: Store) -> None:
    at = [100.0]
    listener = heard(store, "build 1", at, "rack3")
    listener(Progress(Phase.CHECKOUT))
    at[0] = 130.0
    listener(Progress(Phase.BUILD, "md.o", 0.5))
    at[0] = 180.0
    listener(Progress(Phase.FREE, "failed"))
    assert store.work("c") == (WorkRow("build", "v6.18", "build 1", "rack3", 100.0, 180.0, "failed"),)


def test_a_build_that_was_in_the_cache_took_no_time(store: Store) -> None:
    heard(store, "build 1", [1.0])(Progress(Phase.FREE))
    assert store.work("c") == ()


@pytest.mark.parametrize(
    ("stage", "ended", "noted"),
    [
        ("search", "", []),
        ("search", "stopped", [("trial", "v6.18, search")]),
        (Stage.CONTROL, "", [("control boot", "v6.18, control")]),
    ],
)
def test_a_trial_is_noted_only_where_the_store_has_none(
    store: Store, stage: str, ended: str, noted: list[tuple[str, str]]
) -> None:
    listener = heard(store, "trial 2", [1.0], stage=stage)
    listener(Progress(Phase.BOOT))
    listener(Progress(Phase.WORKLOAD, "probe"))
    listener(Progress(Phase.FREE, ended))
    assert [(row.kind, row.label, row.result) for row in store.work("c")] == [(*row, ended) for row in noted]


def test_what_happens_outside_of_slots_is_nobodys_work(store: Store) -> None:
    log = WorkLog(store, "c")
    log.listen(Progress(Phase.BUILD))
    log.listen(Progress(Phase.VERDICT))
    assert store.work("c") == ()
