# SPDX-License-Identifier: GPL-2.0-only
"""The planted history over a tree of the few files it touches; real git throughout."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path

import pytest

from tests.e2e import edits, fastimport, history, layout
from tests.e2e.edits import TreeUnfit
from tests.e2e.layout import UNTESTABLE, Role, Unplaceable

MAKEFILE = "# SPDX-License-Identifier: GPL-2.0\nVERSION = 6\nPATCHLEVEL = 18\nSUBLEVEL = {}\nEXTRAVERSION =\n"
FOPS = """\
static bool blkdev_dio_invalid(struct block_device *bdev, struct kiocb *iocb,
				struct iov_iter *iter)
{
	return (iocb->ki_pos | iov_iter_count(iter)) &
			(bdev_logical_block_size(bdev) - 1);
}

static ssize_t blkdev_read_iter(struct kiocb *iocb, struct iov_iter *to)
{
	if (iocb->ki_flags & IOCB_DIRECT) {
		ret = kiocb_write_and_wait(iocb, count);
	}
}
"""
UNCHECKED = "	return (iocb->ki_pos | iov_iter_count(iter)) &\n"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """As much of 6.18.5 as the history touches, with a program, a link and a name that needs quoting."""
    top = tmp_path / "linux-6.18.5"
    files = {path: f"/* {path} */\n" for path in history._editable()}
    files |= {edits.FOPS: FOPS, edits.MAKEFILE: MAKEFILE.format(5), 'a "b\\c': "odd\n", "scripts/go.sh": "#!/bin/sh\n"}
    files[edits.HEADER] = "#ifndef _LINUX_KERNEL_H\n#define _LINUX_KERNEL_H\n#endif\n"
    for path, text in files.items():
        (top / path).parent.mkdir(parents=True, exist_ok=True)
        (top / path).write_text(text)
    (top / "scripts/go.sh").chmod(0o755)
    os.symlink("./scripts/", top / "dtc")  # noqa: PTH211 - a Path would lose the dot and the slash
    return top


def build(tree: Path, out: Path, *, merge: bool = False, seed: int = 1, variants: int = 2) -> history.Manifest:
    """Few variants: the search for an arrangement is slow, and most tests do not look at it."""
    return history.build(tree, out, culprit=20, seed=seed, merge=merge, commits=34, variants=variants)


def text_at(repo: Path, revision: str, path: str) -> str:
    return fastimport.git(repo, "show", f"{revision}:{path}")


def of_role(manifest: history.Manifest, role: Role) -> history.Planted:
    return next(commit for commit in manifest.commits if commit.role == role)


def test_the_arrangement_makes_a_bisection_meet_each_fault(tree: Path, tmp_path: Path) -> None:
    manifest = build(tree, tmp_path / "repo", variants=history.VARIANTS)
    assert set(UNTESTABLE) <= set(manifest.tested)


@pytest.mark.parametrize("merge", [False, True])
def test_a_bisection_names_the_culprit(tree: Path, tmp_path: Path, merge: bool) -> None:
    manifest = build(tree, tmp_path / "repo", merge=merge)
    scratch = tmp_path / "scratch"
    fastimport.git(tmp_path, "clone", "--quiet", "--bare", str(tmp_path / "repo"), str(scratch))
    tested, named = history.simulate(scratch, manifest.commits)
    assert named == manifest.culprit
    assert tested == manifest.tested


@pytest.mark.parametrize("merge", [False, True])
def test_the_check_stands_exactly_up_to_the_culprit(tree: Path, tmp_path: Path, merge: bool) -> None:
    repo = tmp_path / "repo"
    manifest = build(tree, repo, merge=merge)
    after = {*fastimport.git(repo, "rev-list", "--ancestry-path", f"{manifest.culprit}..bad").split(), manifest.culprit}
    for commit in manifest.commits:
        unchecked = UNCHECKED in text_at(repo, commit.oid, edits.FOPS)
        assert unchecked == (commit.oid in after), commit


def test_every_fault_is_gone_in_the_next_commit(tree: Path, tmp_path: Path) -> None:
    repo = tmp_path / "repo"
    manifest = build(tree, repo)
    mark = {
        Role.UNBUILDABLE: (edits.UNBUILDABLE_FILE, "of_nobody"),
        Role.PANIC: (edits.PANIC_FILE, "panic("),
        Role.OOPS: (edits.FOPS, "unaligned_reads"),
    }
    for role, (path, words) in mark.items():
        fault = of_role(manifest, role)
        repair = manifest.commits[fault.number + 1]
        assert repair.parents == (fault.oid,)
        assert repair.role == Role.REPAIR
        having = [commit.number for commit in manifest.commits if words in text_at(repo, commit.oid, path)]
        assert having == [fault.number]


def test_the_commit_that_does_not_compile_stands_next_to_the_culprit(tree: Path, tmp_path: Path) -> None:
    manifest = build(tree, tmp_path / "repo")
    assert of_role(manifest, Role.UNBUILDABLE).parents == (manifest.culprit,)
    parent = next(commit for commit in manifest.commits if (commit.oid,) == manifest.culprit_parents)
    assert parent.role not in UNTESTABLE


def test_the_merge_holds_what_both_sides_did(tree: Path, tmp_path: Path) -> None:
    repo = tmp_path / "repo"
    manifest = build(tree, repo, merge=True)
    merge = of_role(manifest, Role.MERGE)
    main, side = merge.parents
    base = fastimport.git(repo, "merge-base", main, side).strip()
    assert manifest.culprit in fastimport.git(repo, "rev-list", f"{base}..{side}").split()
    for parent in merge.parents:
        for path in fastimport.git(repo, "diff", "--name-only", base, parent).splitlines():
            assert text_at(repo, merge.oid, path) == text_at(repo, parent, path)


def test_folder_and_tarball_give_the_same_commits(tree: Path, tmp_path: Path) -> None:
    tarball = tmp_path / "linux_6.18.5.orig.tar.xz"
    with tarfile.open(tarball, "w:xz") as archive:
        archive.add(tree, arcname="linux-6.18.5")
    first = build(tree, tmp_path / "first")
    second = build(tarball, tmp_path / "second")
    assert first == second


def test_another_seed_is_another_history_over_the_same_root(tree: Path, tmp_path: Path) -> None:
    first, second = build(tree, tmp_path / "first"), build(tree, tmp_path / "second", seed=2)
    assert first.good == second.good
    assert first.bad != second.bad


def test_a_clean_checkout_of_the_bad_end_is_left(tree: Path, tmp_path: Path) -> None:
    repo = tmp_path / "repo"
    manifest = build(tree, repo)
    assert fastimport.git(repo, "rev-parse", "HEAD", "bad", "good").split() == [
        manifest.bad,
        manifest.bad,
        manifest.good,
    ]
    assert fastimport.git(repo, "status", "--porcelain", "--ignored") == ""
    assert os.readlink(repo / "dtc") == "./scripts/"  # noqa: PTH115
    assert (repo / "scripts/go.sh").stat().st_mode & 0o111
    assert (repo / 'a "b\\c').read_text() == "odd\n"


@pytest.mark.parametrize(
    ("makefile", "why"),
    [
        (MAKEFILE.format(33), "6.18.33 is past 6.18.32: f7b24c7b41f2"),
        (MAKEFILE.replace("18", "17").format(13), "6.17.13 still checks every segment"),
        (MAKEFILE.replace("= 6", "= 7").replace("18", "0").format(3), "7.0.3 is past"),
        ("all:\n", "no line 'VERSION = NUMBER'"),
    ],
)
def test_a_tree_of_another_version_is_refused_with_the_reason(
    tree: Path, tmp_path: Path, makefile: str, why: str
) -> None:
    (tree / "Makefile").write_text(makefile)
    with pytest.raises(TreeUnfit, match=why):
        build(tree, tmp_path / "repo")
    assert not (tmp_path / "repo").exists()
    assert list(tmp_path.glob("*.partial")) == []


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ("bdev_logical_block_size(bdev) - 1)", "bdev_io_min(bdev) - 1)", "blkdev_dio_invalid does not look as in 6.18"),
        ("kiocb_write_and_wait", "write_and_wait", "blkdev_read_iter does not look as in 6.18"),
    ],
)
def test_a_function_that_looks_otherwise_is_named(tree: Path, tmp_path: Path, old: str, new: str, why: str) -> None:
    (tree / edits.FOPS).write_text(FOPS.replace(old, new))
    with pytest.raises(TreeUnfit, match=why):
        build(tree, tmp_path / "repo")


def test_a_missing_file_is_named(tree: Path, tmp_path: Path) -> None:
    (tree / edits.PANIC_FILE).unlink()
    with pytest.raises(TreeUnfit, match=f"the tree lacks {edits.PANIC_FILE}"):
        build(tree, tmp_path / "repo")


@pytest.mark.parametrize(
    ("commits", "culprit", "merge"), [(29, 12, False), (34, 2, False), (34, 32, False), (34, 28, True)]
)
def test_places_without_room_are_refused(commits: int, culprit: int, merge: bool) -> None:
    with pytest.raises(Unplaceable, match="give"):
        layout.plan(commits, culprit, 1, merge)


@pytest.mark.parametrize("merge", [False, True])
@pytest.mark.parametrize("culprit", range(8, 26))
def test_each_place_in_the_middle_can_be_the_culprits(culprit: int, merge: bool) -> None:
    planned = layout.plan(34, culprit, 3, merge)
    assert [commit.number for commit in planned] == list(range(34))
    roles = [commit.role for commit in planned]
    for role in (Role.ROOT, Role.HEADER, Role.CULPRIT, Role.MERGE, *UNTESTABLE):
        assert roles.count(role) == 1
    assert roles.index(Role.CULPRIT) == culprit
    assert planned[culprit].side == merge
    assert all(parent < commit.number for commit in planned for parent in commit.parents)
    assert roles[-1] not in UNTESTABLE


def test_the_command_line_tells_what_is_wrong(tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tree / "Makefile").write_text(MAKEFILE.format(40))
    assert history.main(["--tree", str(tree), "--out", str(tmp_path / "repo")]) == 2
    assert "6.18.40 is past 6.18.32" in capsys.readouterr().err
