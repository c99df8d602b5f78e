# SPDX-License-Identifier: GPL-2.0-only
"""Questions to the user's repository: what names a commit, what is refused and with which remedy."""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path

import pytest
from planted import Planned, Planted, chain, git
from searching import SearchSetup

from bisector.errors import InfraError, UsageError
from bisector.search.gitrepo import History, UserRepository

BRANCH = [*chain("a", "b", "c"), *chain("s", "t", start="a"), Planned("m", ("c", "t")), *chain("d", start="m")]


@pytest.fixture
def repository(setup: SearchSetup) -> Planted:
    planted = setup.plant(BRANCH)
    git(planted.folder, "tag", "v6.17", planted.oid["a"])
    git(planted.folder, "tag", "-a", "-m", "a release", "v6.18", planted.oid["d"])
    git(planted.folder, "tag", "v6.18-rc1", planted.oid["c"])
    return planted


def test_every_way_to_name_a_commit(repository: Planted) -> None:
    user = UserRepository(repository.folder)
    d = repository.oid["d"]
    for name in ["v6.18", "HEAD", "main", d, d[:10], "refs/tags/v6.18", "v6.18^0", ":/d: a change"]:
        assert user.resolve(name).oid == d
    assert user.resolve("v6.18~1^2").oid == repository.oid["t"]


def test_commit_as_people_know_it(repository: Planted) -> None:
    commit = UserRepository(repository.folder).resolve("v6.18~1")
    assert commit.subject == "m: a change"
    assert commit.author == "A <a@b>"
    assert commit.parents == (repository.oid["c"], repository.oid["t"])


@pytest.mark.parametrize(
    ("revision", "hint"),
    [
        ("6.18", "did you mean v6.18?"),
        ("v6.18-rc2", "v6.18-rc1"),
        ("mian", "main"),
        ("1234567890abcdef1234567890abcdef12345678", "fetch --tags"),
    ],
)
def test_unknown_revision_says_what_is_near(repository: Planted, revision: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        UserRepository(repository.folder).resolve(revision)
    assert revision in caught.value.what
    assert hint in caught.value.hint


@pytest.mark.parametrize(
    "revision",
    ["", "--output=stolen", "-x", "v6.17..v6.18", "^v6.17", "HEAD:own", "v6.18\n--output=stolen", "HEAD^{tree}"],
)
def test_what_is_no_revision_is_refused(repository: Planted, revision: str) -> None:
    with pytest.raises(UsageError):
        UserRepository(repository.folder).resolve(revision)
    assert not list(repository.folder.rglob("*stolen*"))


def test_ambiguous_abbreviation_lists_what_it_may_be(setup: SearchSetup) -> None:
    repository = setup.plant(chain(*(f"x{number}" for number in range(400))))
    prefixes = [oid[:4] for oid in repository.name]
    twice = next(prefix for prefix in prefixes if prefixes.count(prefix) > 1)  # the ids are always the same ones
    with pytest.raises(UsageError) as caught:
        UserRepository(repository.folder).resolve(twice)
    assert "ambiguous" in caught.value.hint
    assert caught.value.hint.count(": a change") == 2


def test_worktree_subfolder_and_bare_are_fine(repository: Planted, tmp_path: Path) -> None:
    git(repository.folder, "worktree", "add", "-q", "--detach", os.fspath(tmp_path / "linked"), "v6.17")
    git(tmp_path, "clone", "-q", "--bare", os.fspath(repository.folder), "bare.git")
    linked = UserRepository(tmp_path / "linked" / "own")
    assert linked.resolve("HEAD").oid == repository.oid["a"]  # its own HEAD
    assert linked.common_dir == UserRepository(repository.folder / "own").common_dir == repository.folder / ".git"
    assert UserRepository(tmp_path / "bare.git").resolve("v6.18").oid == repository.oid["d"]


def test_what_is_no_repository_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not a git repository"):
        UserRepository(tmp_path)
    with pytest.raises(UsageError, match="no such folder"):
        UserRepository(tmp_path / "none")


def test_shallow_clone_is_refused_and_the_remedy_works(repository: Planted, tmp_path: Path) -> None:
    shallow = tmp_path / "shallow"
    git(tmp_path, "clone", "-q", "--depth=2", f"file://{repository.folder}", os.fspath(shallow))
    with pytest.raises(UsageError, match="shallow") as caught:
        UserRepository(shallow)
    subprocess.run(shlex.split(caught.value.hint), check=True, capture_output=True)
    assert UserRepository(shallow).resolve("HEAD").oid == repository.oid["d"]


def test_partial_clone_is_refused_and_the_remedy_works(repository: Planted, tmp_path: Path) -> None:
    git(repository.folder, "config", "uploadpack.allowFilter", "true")
    partial = tmp_path / "partial"
    git(tmp_path, "clone", "-q", "--bare", "--filter=blob:none", f"file://{repository.folder}", os.fspath(partial))
    with pytest.raises(UsageError, match="partial") as caught:
        UserRepository(partial)
    for command in caught.value.hint.splitlines():
        subprocess.run(shlex.split(command), check=False, capture_output=True)
    assert UserRepository(partial).resolve("HEAD").oid == repository.oid["d"]
    assert "missing" not in git(partial, "rev-list", "--objects", "--missing=print", "--all")
    assert "?" not in git(partial, "rev-list", "--objects", "--missing=print", "--all")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_repository_of_another_user_needs_the_users_own_word(
    repository: Planted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, setup: SearchSetup
) -> None:
    for path in [repository.folder, *repository.folder.rglob("*")]:
        os.chown(path, 65534, 65534, follow_symlinks=False)
    config = tmp_path / "gitconfig"
    config.write_text("")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.fspath(config))
    with pytest.raises(UsageError) as caught:
        UserRepository(repository.folder)
    assert "safe.directory" in caught.value.hint
    config.write_text(f"[safe]\ndirectory = {repository.folder}\n")
    clone = setup.clone(repository)
    assert clone.history().commit(repository.oid["d"]).subject == "d: a change"


def test_environment_of_the_user_changes_nothing(
    repository: Planted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ["GIT_DIR", "GIT_WORK_TREE", "GIT_OBJECT_DIRECTORY", "GIT_COMMON_DIR", "GIT_INDEX_FILE"]:
        monkeypatch.setenv(name, os.fspath(tmp_path / "elsewhere"))
    monkeypatch.setenv("GIT_CONFIG_COUNT", "one")
    monkeypatch.setenv("GIT_NAMESPACE", "other")
    user = UserRepository(repository.folder)
    assert user.resolve("v6.18").oid == repository.oid["d"]
    assert user.common_dir == repository.folder / ".git"


def test_replacements_and_grafts_do_not_bend_history(repository: Planted) -> None:
    git(repository.folder, "replace", repository.oid["d"], repository.oid["a"])
    (repository.folder / ".git" / "info" / "grafts").write_text(f"{repository.oid['m']}\n")
    user = UserRepository(repository.folder)
    assert user.resolve("main").subject == "d: a change"
    assert user.count(repository.oid["a"], repository.oid["d"]) == 6


def test_questions_about_history(repository: Planted) -> None:
    user = UserRepository(repository.folder)
    oid = repository.oid
    assert user.merge_base(oid["c"], oid["t"]) == oid["a"]
    assert user.is_ancestor(oid["s"], oid["d"]) and not user.is_ancestor(oid["d"], oid["s"])
    assert user.is_ancestor(oid["s"], oid["s"])
    assert user.count(oid["a"], oid["d"]) == 6
    assert user.count(oid["a"], oid["d"], first_parent=True) == 4
    assert user.count(oid["a"], oid["d"], paths=["own/s", "own/t"]) == 2
    assert [repository.name[c.oid] for c in user.log(oid["a"], oid["d"], first_parent=True)] == ["d", "m", "c", "b"]
    assert user.changed_files(oid["s"]) == ("own/s",)
    assert set(user.changed_files(oid["m"])) == {"own/m", "own/s", "own/t"}
    assert set(user.changed_files(oid["m"], oid["t"])) == {"own/m", "own/b", "own/c"}
    assert user.changed_files(oid["a"]) == ("own/a",)
    assert user.describe(oid["m"]).startswith("v6.18-rc1-")
    assert user.tree(oid["a"]) == git(repository.folder, "rev-parse", "v6.17^{tree}")


def test_histories_without_common_commit(setup: SearchSetup) -> None:
    repository = setup.plant([*chain("a", "b"), *chain("p", "q")], "apart")
    user = UserRepository(repository.folder)
    assert user.merge_base(repository.oid["b"], repository.oid["q"]) is None
    assert not user.is_ancestor(repository.oid["b"], repository.oid["q"])


def test_missing_object_is_infrastructure(repository: Planted) -> None:
    history = History(repository.folder)
    with pytest.raises(InfraError):
        history.commit("1" * 40)
    with pytest.raises(InfraError, match="not the id"):
        history.commit("--output=stolen")
    assert history.commits([]) == ()


def test_odd_subjects_and_own_configuration_do_not_confuse(setup: SearchSetup) -> None:
    repository = setup.plant(chain("a"))
    for key, value in {"log.showSignature": "true", "log.follow": "true", "i18n.logOutputEncoding": "latin1"}.items():
        git(repository.folder, "config", key, value)
    env = {"GIT_AUTHOR_NAME": "Jörg"}
    git(repository.folder, "commit", "-q", "--allow-empty", "-m", "odd\x0c\u2028 subjéct\n\nbody", env=env)
    (commit,) = UserRepository(repository.folder).log(repository.oid["a"], "HEAD")
    assert commit.author == "Jörg <a@b>"
    assert commit.subject.startswith("odd") and commit.subject.endswith("subjéct")
    raw = subprocess.run(
        ["git", "-C", repository.folder, "fast-import", "--quiet"],
        input=b"commit refs/heads/raw\ncommitter J\xf6rg <j@b> 1700000000 +0000\ndata 4\nbyte\n",
        check=True,
    )
    assert raw.returncode == 0
    author = UserRepository(repository.folder).resolve("raw").author
    assert author.encode().decode() == author and author.startswith("J")


def test_a_repository_of_longer_ids_is_refused_before_anything_is_tried(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q", "--object-format=sha256", str(tmp_path / "long")], check=True)
    with pytest.raises(UsageError, match="names its commits by SHA256") as caught:
        UserRepository(tmp_path / "long")
    assert "default format" in caught.value.hint
