# SPDX-License-Identifier: GPL-2.0-only
"""Fragments merge in order, and what Kconfig drops is found."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bisector.errors import RecipeError, UsageError
from bisector.model import BuildConfig
from bisector.system.shipped import kconfigs
from bisector.target.kconfig import Fragments, final_values, load, read

SHIPPED = (
    *("ahci", "base", "kvm", "loop", "lvm-raid", "lvm-thin", "md-linear", "scsi", "vfio"),
    *("nbd", "nvmf", "null_blk", "scsi_debug", "zoned", "zram", "nvme-metadata", "hotplug"),
    *("dm", "dm-crypt", "dm-delay", "dm-dust", "dm-flakey", "dm-integrity", "dm-unstriped"),
    *("btrfs", "ext4", "f2fs", "squashfs", "vfat", "xfs"),
    *("cgroup-io", "cgroup-memory", "kmemleak", "suspend", "suspend-ram"),
)


def wanted(*texts: str, base: str = "") -> Fragments:
    merged = {line.symbol: line for number, text in enumerate(texts) for line in read(text, f"f{number}")}
    return Fragments(tuple(merged.values()), base)


def test_every_shipped_fragment_can_be_read_and_says_what_it_is_for() -> None:
    assert sorted(path.stem for path in kconfigs().glob("*.config")) == sorted(SHIPPED)
    for path in kconfigs().glob("*.config"):
        first, second, *_ = path.read_text().splitlines()
        assert first == "# SPDX-License-Identifier: GPL-2.0-only"
        assert second.startswith(f"# {path.stem}: ")
        lines = read(path.read_text(), path.name)
        assert len({line.symbol for line in lines}) == len(lines), f"{path.name} says something twice"


def test_a_fragment_is_found_by_name_or_by_path(tmp_path: Path) -> None:
    (tmp_path / "my.config").write_text("CONFIG_NET=y\n")
    config = BuildConfig(("loop", "./my.config"))
    symbols = [line.symbol for line in load(config, shipped=kconfigs(), folder=tmp_path).lines]
    assert symbols == ["BLOCK", "BLK_DEV", "BLK_DEV_LOOP", "NET"]


def test_a_fragment_that_is_not_there_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="'lop'") as caught:
        load(BuildConfig(("lop",)), shipped=kconfigs(), folder=tmp_path)
    assert "lvm-raid" in caught.value.hint
    with pytest.raises(UsageError, match="base_config"):
        load(BuildConfig(base_config="none"), shipped=kconfigs(), folder=tmp_path)


def test_the_later_line_wins(tmp_path: Path) -> None:
    (tmp_path / "a.config").write_text("CONFIG_A=y\nCONFIG_B=y\n")
    (tmp_path / "b.config").write_text("# CONFIG_A is not set\n")
    merged = load(BuildConfig(("a.config", "b.config")), shipped=kconfigs(), folder=tmp_path)
    assert merged.text() == "CONFIG_B=y\n# CONFIG_A is not set\n"


def test_values_of_every_kind_are_read() -> None:
    text = 'CONFIG_A=m\nCONFIG_B=0x10 # why\nCONFIG_C="a b, c"\n# CONFIG_D is not set\nCONFIG_E=-1\nCONFIG_F=""\n'
    assert [(line.symbol, line.value) for line in read(text, "f")] == [
        ("A", "m"),
        ("B", "0x10"),
        ("C", '"a b, c"'),
        ("D", "n"),
        ("E", "-1"),
        ("F", '""'),
    ]


def test_every_malformed_line_is_named_with_its_place() -> None:
    with pytest.raises(RecipeError) as caught:
        read("CONFIG_A=y\n  BLOCK=y\nCONFIG_B\nCONFIG_C=y z\n# words\n", "f.config")
    places = [(fault.line, fault.column) for fault in caught.value.diagnostics]
    assert places == [(2, 3), (3, 1), (4, 1)]


def test_a_line_that_kconfig_dropped_is_found_with_its_place() -> None:
    final = "CONFIG_A=y\nCONFIG_B=m\n# CONFIG_C is not set\nCONFIG_LOG=17\n"
    wish = wanted("CONFIG_A=y\nCONFIG_B=y\nCONFIG_C=y\nCONFIG_D=n\nCONFIG_LOG=18\n")
    assert [str(entry) for entry in wish.dropped(final)] == [
        "f0:2: CONFIG_B=y became m",
        "f0:3: CONFIG_C=y became n",
        "f0:5: CONFIG_LOG=18 became 17",
    ]


def test_a_symbol_that_should_be_off_and_is_on_is_found() -> None:
    assert [str(entry) for entry in wanted("# CONFIG_VT is not set\n").dropped("CONFIG_VT=y\n")] == [
        "f0:1: CONFIG_VT=n became y"
    ]


def test_a_module_that_is_built_in_is_there() -> None:
    assert not wanted("CONFIG_A=m\n").dropped("CONFIG_A=y\n")


def test_optional_is_a_word_at_the_end() -> None:
    lines = read("CONFIG_A=y # optional\nCONFIG_B=y # not so\n# CONFIG_C is not set # optional: since 6.2\n", "f")
    assert [line.optional for line in lines] == [True, False, True]


def test_a_base_config_loses_what_no_build_can_repeat(tmp_path: Path) -> None:
    (tmp_path / "base").write_text(
        'CONFIG_A=y\nCONFIG_LOCALVERSION_AUTO=y\nCONFIG_SYSTEM_TRUSTED_KEYS="debian/x.pem"\n'
    )
    (tmp_path / "my.config").write_text("CONFIG_MODULE_SIG=y\n")
    text = load(BuildConfig(("./my.config",), "base"), shipped=kconfigs(), folder=tmp_path).text()
    values = final_values(text)
    assert values == {
        "A": "y",
        "MODULE_SIG": "y",  # the person's own word comes last
        "SYSTEM_TRUSTED_KEYS": '""',
        "SYSTEM_REVOCATION_KEYS": '""',
    }


def test_the_digest_ignores_comments_and_order_alone() -> None:
    assert wanted("CONFIG_A=y\nCONFIG_B=y\n").digest() == wanted("# words\nCONFIG_B=y\n\nCONFIG_A=y\n").digest()
    digests = {
        wanted("CONFIG_A=y\n").digest(),
        wanted("CONFIG_A=m\n").digest(),
        wanted("CONFIG_A=y # optional\n").digest(),
        wanted("CONFIG_A=y\n", base="CONFIG_B=y\n").digest(),
    }
    assert len(digests) == 4


symbols = st.from_regex(r"[A-Z][A-Z0-9_]{0,8}", fullmatch=True)
values = st.sampled_from(["y", "m", "n", "5", "0x1f", '"text"'])


@given(st.dictionaries(symbols, values), st.dictionaries(symbols, values))
def test_what_is_wanted_is_what_the_file_for_kconfig_says(base: dict[str, str], wish: dict[str, str]) -> None:
    base_text = "".join(f"CONFIG_{symbol}={value}\n" for symbol, value in base.items())
    config = wanted("".join(f"CONFIG_{symbol}={value}\n" for symbol, value in wish.items()), base=base_text)
    assert not config.dropped(config.text())
    expected = {symbol: value for symbol, value in (base | wish).items() if (symbol, value) not in off(wish)}
    assert final_values(config.text()) == expected


def off(wish: dict[str, str]) -> set[tuple[str, str]]:
    return {(symbol, value) for symbol, value in wish.items() if value == "n"}


@pytest.mark.parametrize(
    ("line", "column"),
    [
        ('CONFIG_INITRAMFS_SOURCE="$(shell touch ran)"', 26),
        ('CONFIG_INITRAMFS_SOURCE="`touch ran`"', 26),
        ('CONFIG_LOCALVERSION="a; touch ran"', 23),
        ('CONFIG_LOCALVERSION="a\\"b"', 23),
        ("CONFIG_BLOCK=$(shell;touch)", 14),
        ("CONFIG_BLOCK=yes", 14),
    ],
)
@pytest.mark.parametrize("kind", ["fragment", "base"])
def test_a_value_that_could_run_a_command_is_refused_with_its_place(
    tmp_path: Path, line: str, column: int, kind: str
) -> None:
    (tmp_path / "own.config").write_text(f"CONFIG_NET=y\n{line}\n")
    config = BuildConfig(("./own.config",)) if kind == "fragment" else BuildConfig((), "./own.config")
    with pytest.raises(RecipeError) as caught:
        load(config, shipped=tmp_path, folder=tmp_path)
    (fault,) = caught.value.diagnostics
    assert (fault.file, fault.line, fault.column) == ("own.config", 2, column)


def test_what_distributions_write_is_allowed() -> None:
    for value in ("gcc (Debian 12.2.0-14) 12.2.0", "(none)", "landlock,lockdown,yama", "debian/certs/a@b.pem", ""):
        assert read(f'CONFIG_X="{value}"', "a.config")[0].value == f'"{value}"'
