# SPDX-License-Identifier: GPL-2.0-only
"""Where a trial's time goes, by the stamps of its console (python -m bench trial --phases)."""

import pytest

from bench.trial import PHASES, phases

CONSOLE = """\
[    0.000000] Linux version 6.18.5
[    0.886094] Freeing unused kernel image (initmem) memory: 892K
[    0.900000] Run /x/virtme/guest/bin/virtme-ng-init as init process
[    1.500000] virtme-ng-init: running systemd-tmpfiles
[    2.400000] virtme-ng-init: starting script
[    3.400000] bisector 415aba32bb63 begin
[    5.400000] bisector 415aba32bb63 storage
[    5.500000] bisector 415aba32bb63 step probe begin
[    6.400000] bisector 415aba32bb63 step probe end
[    6.600000] bisector 415aba32bb63 end
"""


def test_phases_add_up_to_the_whole_trial() -> None:
    found = phases(CONSOLE, boot=4.0, total=7.5)
    assert found == pytest.approx((0.6, 0.9, 1.5, 1.0, 2.0, 1.0, 0.2, 0.3))
    assert len(found) == len(PHASES)
    assert sum(found) == pytest.approx(7.5)
