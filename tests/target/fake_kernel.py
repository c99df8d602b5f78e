# SPDX-License-Identifier: GPL-2.0-only
"""A kernel tree in small: its make takes milliseconds and has kbuild's manners, good and bad.

What it shares with the real one, and tests rely on: objects in a subfolder, made by mtime; command files beside them;
an object whose source is gone has no rule and is taken for current; Kconfig drops what it does not know; the build
environment ends up in the image; a compiler writes its object in place. Words in a source make its "compiler" fail.
"""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import dataclass, field
from pathlib import Path

from bisector.interfaces import EMPTY_TREE, NEVER, CancelToken, Change, EditsDoNotApply
from bisector.model import Candidate, Edit, TargetKind

MAKEFILE = r"""
ifndef sub
goals := $(or $(MAKECMDGOALS),bzImage)
.PHONY: $(goals) again
$(goals): again ; @:
again: ; @mkdir -p $(O) && $(MAKE) --no-print-directory -C $(O) -f $(CURDIR)/Makefile sub=1 $(goals)
else
.DELETE_ON_ERROR:
.PRECIOUS: drivers/%.c
.PHONY: allnoconfig olddefconfig prepare bzImage modules modules_install FORCE
KCONFIG_CONFIG ?= .config
marks := $(CCACHE_DIR)/marks-$(notdir $(abspath ../..))
kernel := arch/x86/boot/bzImage
installed := $(INSTALL_MOD_PATH)/lib/modules/6.0
objects := $(shell sed 's/$$/.o/' ../Kbuild)
$(shell mkdir -p $(marks) drivers include/config include/generated arch/x86/boot)

known = grep -E "^CONFIG_($$(paste -sd'|' ../Kconfig))=" $(1) | grep -v '=n$$' | sort > $(KCONFIG_CONFIG); true
allnoconfig: ; @$(call known,$(KCONFIG_ALLCONFIG))
olddefconfig: ; @cp $(KCONFIG_CONFIG) $(KCONFIG_CONFIG).in; $(call known,$(KCONFIG_CONFIG).in); rm $(KCONFIG_CONFIG).in

bzImage: $(kernel)
prepare: include/config/auto.conf include/generated/utsrelease.h
include/config/auto.conf: .config
	@echo "  SYNC    $@"; cp $< $@; cat ../release > include/config/kernel.release
include/generated/utsrelease.h: ../release
	@echo "  UPD     $@"; cp $< $@

drivers/%.o: ../drivers/%.c include/config/auto.conf include/generated/utsrelease.h
	@echo "  CC      $@"; sh ../compile $< $@ $(marks)
	@printf 'savedcmd_%s := cc -I../include -c -o %s %s\n\nsource_%s := %s\n' $@ $@ $< $@ $< > drivers/.$*.o.cmd
drivers/%.c: ../drivers/%.tmpl
	@echo "  GEN     $@"; cp $< $@; printf 'savedcmd_%s := cp %s %s\n' $@ $< $@ > drivers/.$*.c.cmd
drivers/made-%.o: drivers/made-%.c include/config/auto.conf
	@echo "  CC      $@"; sh ../compile $< $@ $(marks)
	@printf 'savedcmd_%s := cc -c -o %s %s\n\nsource_%s := %s\n' $@ $@ $< $@ $< > drivers/.made-$*.o.cmd

vmlinux: $(objects) .config ../Kbuild
	@echo "  LD      $@"; cat $(objects) .config > kernel.bin
	@echo "by $(KBUILD_BUILD_USER) on $(KBUILD_BUILD_HOST) at $(KBUILD_BUILD_TIMESTAMP) $(KCFLAGS)" >> kernel.bin
	@: | as -o empty.o && ld -shared --build-id=sha1 empty.o -b binary kernel.bin -o $@
$(kernel): vmlinux
	@echo "  BUILD   $@"; cp kernel.bin $@

modules: prepare ; @echo "  LD [M]  drivers/extra.ko"; cat ../drivers/extra.m > drivers/extra.ko
modules_install:
	@mkdir -p $(installed)/kernel && cp drivers/extra.ko $(installed)/kernel/
	@ln -s $(CURDIR) $(installed)/build && touch $(installed)/modules.dep
endif
"""

COMPILE = r"""
source=$1 object=$2 marks=$3
echo compiled >> $marks/compiled
case $(cat $source) in
  *WRONG*) echo "$source:1:1: error: wrong on purpose" >&2; exit 1 ;;
  *FULL*) echo "$source: fatal error: error writing to /tmp/x.s: No space left on device" >&2; exit 1 ;;
  *MEMORY*) echo "gcc: fatal error: Killed signal terminated program cc1" >&2; exit 1 ;;
  *TOOL*) flexx-that-is-not-there $source ;;
esac
status=$?; [ $status = 0 ] || exit $status
printf 'object of ' > $object
if [ -e $marks/pause ] && grep -q PAUSE $source; then
  touch $marks/reached
  while [ -e $marks/pause ]; do sleep 0.02; done
fi
cat $source >> $object
"""


@dataclass
class FakeTree:
    """A tree of ``files`` under ``folder``; ``objects`` are the names its Kbuild lists."""

    folder: Path
    files: dict[str, str]
    objects: tuple[str, ...] = ("core", "disk")
    kconfig: tuple[str, ...] = ("BLOCK", "NET", "LATER", "MODULES")
    release: str = "6.0"

    def write(self) -> FakeTree:
        """Put it on disk."""
        everything = {
            "Makefile": MAKEFILE,
            "compile": COMPILE,
            "Kbuild": "".join(f"drivers/{name}\n" for name in self.objects),
            "Kconfig": "\n".join(self.kconfig) + "\n",
            "release": self.release + "\n",
            **self.files,
        }
        for name, text in everything.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return self


@dataclass
class FakeSources:
    """Trees by revision; a checkout writes what differs and removes everything else, as our git clone does."""

    trees: dict[str, Path] = field(default_factory=dict)

    def add(self, folder: Path, revision: str, files: dict[str, str], **facts: object) -> Candidate:
        """Write a tree and return the candidate that stands for it."""
        tree = FakeTree(folder / revision, files, **facts)  # type: ignore[arg-type]
        self.trees[revision] = tree.write().folder
        return Candidate(TargetKind.KERNEL_SOURCE, revision)

    def tree_of(self, candidate: Candidate) -> str:
        """Hash over names and contents."""
        if candidate.edits:
            raise EditsDoNotApply(f"{candidate.edits[0].kind} {candidate.edits[0].commit[:12]} conflicts in fops.c")
        tree = self.trees[candidate.revision]
        content = [
            (str(path.relative_to(tree)), path.read_bytes()) for path in sorted(tree.rglob("*")) if path.is_file()
        ]
        return hashlib.sha1(repr(content).encode()).hexdigest()

    def changes(self, old: str, new: str) -> tuple[Change, ...] | None:
        """Paths that differ between two trees, as git's diff-tree gives them."""
        trees = {self.tree_of(Candidate(TargetKind.KERNEL_SOURCE, each)): folder for each, folder in self.trees.items()}
        if not {old, new} <= {EMPTY_TREE, *trees}:
            return None
        sides = [
            {str(path.relative_to(trees[tree])): path.read_bytes() for path in trees[tree].rglob("*") if path.is_file()}
            if tree in trees
            else {}
            for tree in (old, new)
        ]
        differ = sorted(name for name in {*sides[0], *sides[1]} if sides[0].get(name) != sides[1].get(name))
        return tuple(Change(name, *("100644" if name in side else "000000" for side in sides)) for name in differ)

    def checkout(
        self, candidate: Candidate, folder: Path, cancel: CancelToken = NEVER, like: Path | None = None
    ) -> None:
        """Make ``folder`` hold exactly the tree; files that are right keep their mtime."""
        tree = self.trees[candidate.revision]
        if like and not folder.exists():
            shutil.copytree(like, folder, symlinks=True)
        folder.mkdir(exist_ok=True)
        wanted = {path.relative_to(tree) for path in tree.rglob("*")}
        for path in sorted(folder.rglob("*"), reverse=True):
            if path.relative_to(folder) not in wanted:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        for name in sorted(wanted):
            source, target = tree / name, folder / name
            if source.is_dir():
                target.mkdir(exist_ok=True)
            elif not target.exists() or target.read_bytes() != source.read_bytes():
                target.write_bytes(source.read_bytes())


def revert(commit: str = "a" * 40) -> Edit:
    """An edit, which no fake tree takes."""
    return Edit("revert", commit)
