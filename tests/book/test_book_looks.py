# SPDX-License-Identifier: GPL-2.0-only
"""The ways to look at blocks differ in what they can see: caches hide what happened underneath, until they are gone."""

from pathlib import Path

import pytest
from booking import needs_image, page

pytestmark = [pytest.mark.vm, pytest.mark.book, needs_image]
RECIPE = """\
recipe: looks
target: {{kernel: {{config: [base, ext4, xfs]}}}}
vm: {{append: [bdev_allow_write_mounted=1]}}
trials: 1
deadline: 5m
storage:
  disk: {{disk: virtio-blk, size: 512M}}
  data: {{fs: {fs}, of: disk}}
steps:
  - load: {{stamp: data, size: 128M}}  # two processes look at as much
  - before: {{verify: data, caches: remount}}
  - damage: {{corrupt: disk, class: duplicate}}
  - kept: {{verify: data, caches: keep}}
  - below: {{verify: disk, direct: true}}
  - remounted: {{verify: data, caches: remount}}
  - dropped: {{verify: data}}
  - direct: {{verify: data, direct: true}}
bad_when:
  hidden: {{blocks: {{kept: clean, below: duplicate, remounted: duplicate, dropped: duplicate, direct: duplicate}}}}
good_when:
  same: {{blocks: {{kept: clean, remounted: clean}}}}
"""


@pytest.mark.parametrize("fs", ["ext4", "xfs"])
def test_caches_hide_damage_underneath_until_they_are_dropped_or_the_file_system_is_mounted_anew(
    fs: str, tmp_path: Path
) -> None:
    (tmp_path / "looks.yaml").write_text(RECIPE.format(fs=fs))
    seen = page(str(tmp_path / "looks"))
    assert seen.step("", "before")["blocks"] == ["clean"]
    assert (seen.verdict(""), seen.condition("")) == ("bad", "hidden"), seen.table()
    assert "holds block" in seen.step("", "remounted")["detail"]
