# SPDX-License-Identifier: GPL-2.0-only
# "make help" lists the targets. Everything a target needs is set up by it on a fresh Debian 12 or 13; what is already
# there costs no more than a look at a stamp in .make/.

MAKEFLAGS += --no-builtin-rules
.DELETE_ON_ERROR:

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Folder of the planted history, its builds and campaigns; about 12 GB.
export BISECTOR_E2E ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/bisector-e2e
# Fragments for the tests in a VM besides those of the end-to-end test's recipe: one of them builds on loop legs.
IMAGE_FRAGMENTS ?= loop scsi null_blk scsi_debug zram nbd nvmf dm dm-crypt dm-delay dm-dust dm-flakey dm-integrity \
  dm-unstriped md-linear lvm-thin zoned hotplug cgroup-io cgroup-memory suspend \
  kmemleak
BOOK_FRAGMENTS ?= loop scsi ahci ext4 xfs vfio btrfs f2fs vfat squashfs
# Arguments of the end-to-end test: make e2e E2E_ARGS='--seed 7 --culprit 12'
E2E_ARGS ?=
PYTEST_ARGS ?=
# A process for each processor, which takes a file of tests after the other. One after the other: make test TEST_PROCESSES=
TEST_PROCESSES ?= -n $(shell nproc) --dist loadfile --no-loadscope-reorder

.PHONY: help
help: ## This list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "%-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: demo
demo: .make/run ## Set up what running needs; then find the release since which a real bug is there, without a build
	$(BIN)/bisector run recipes/virtio-dio-lvm-raid1-releases.yaml

.PHONY: test
test: lint image ## Set up everything, lint, all tests (those in a VM too)
	BISECTOR_TEST_IMAGE="$$(cat .make/image)" $(BIN)/pytest $(TEST_PROCESSES) $(PYTEST_ARGS)

.PHONY: quick
quick: .make/venv ## Tests that need no VM
	$(BIN)/pytest -m 'not vm' $(TEST_PROCESSES) $(PYTEST_ARGS)

.PHONY: lint
lint: .make/venv ## ruff, mypy strict, which package may import which
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

.PHONY: image
image: .make/image ## The kernel that the tests in a VM boot

.PHONY: e2e
e2e: .make/venv ## A real campaign on a planted history over a real kernel tree
	$(BIN)/python -m tests.e2e.run $(E2E_ARGS)

.PHONY: e2e-merge
e2e-merge: .make/venv ## The same with the culprit inside the merged side branch
	$(BIN)/python -m tests.e2e.run --merge $(E2E_ARGS)

.PHONY: e2e-releases
e2e-releases: .make/venv ## Released kernels first, then the commits between their tags, for real (a quarter of an hour)
	$(BIN)/python -m tests.e2e.releases $(E2E_ARGS)

.PHONY: e2e-field
e2e-field: .make/venv ## Both ends of reports from the field, on kernels with and without each fault (two hours)
	$(BIN)/python -m tests.field.ends $(E2E_ARGS)

.PHONY: e2e-flaky
e2e-flaky: .make/venv ## The same with a bug that reproduces in three of ten trials (an hour of trials)
	$(BIN)/python -m tests.e2e.flaky $(E2E_ARGS)

.PHONY: e2e-slow
e2e-slow: .make/venv ## The same with a commit that makes each write of a raid1 20 % slower
	$(BIN)/python -m tests.e2e.slow $(E2E_ARGS)

.PHONY: e2e-kill
e2e-kill: .make/venv ## Kill -9 at ten moments of a campaign, each followed by --resume (half an hour)
	$(BIN)/python -m tests.e2e.kill $(E2E_ARGS)

.PHONY: e2e-cluster
e2e-cluster: .make/venv .make/host-cluster ## The same on three hosts over SSH, with faults (root; half an hour)
	$(BIN)/python -m tests.e2e.cluster $(E2E_ARGS)

.PHONY: e2e-nightly
e2e-nightly: .make/venv ## One night on linux-next over the same history: found once, and nothing without a new day
	$(BIN)/python -m tests.e2e.nightly $(E2E_ARGS)

.PHONY: e2e-qemu
e2e-qemu: .make/venv .make/host-qemu ## The qcow2 race on a planted history of the distribution's QEMU (15 minutes)
	$(BIN)/python -m tests.e2e.qemu $(E2E_ARGS)

.PHONY: book
# Two at a time: an emulated guest in an emulated VM keeps one core busy.
book: .make/host-book .make/book-image .make/book-bzimage ## Every recipe of the book on real software, controls included (20 minutes and more, with its kernels built)
	BISECTOR_BOOK_IMAGE="$$(cat .make/book-image)" BISECTOR_BOOK_BZIMAGE="$$(cat .make/book-bzimage)" $(BIN)/pytest -m book -n 2 --dist load --maxschedchunk 1 tests/book $(PYTEST_ARGS)

.PHONY: book-3
book-3: .make/host-book .make/book-image .make/book-bzimage ## The book three times: the same answers each time
	for pass in 1 2 3; do $(MAKE) --no-print-directory book || exit 1; done

.PHONY: bench
bench: .make/image ## Figures for docs/performance.md (the whole campaign against a plain script: make bench-campaign)
	$(BIN)/python -m bench help
	$(BIN)/python -m bench trial --image "$$(cat .make/image)"
	$(BIN)/python -m bench integrity --image "$$(cat .make/image)"
	$(BIN)/python -m bench store
	$(BIN)/python -m bench step --repo $(BISECTOR_E2E)/linux-34-20-1

.PHONY: bench-campaign
bench-campaign: .make/image ## A whole campaign against a plain script for git bisect run (an hour or more)
	$(BIN)/python -m bench campaign --repo $(BISECTOR_E2E)/linux-34-20-1

.PHONY: schema
schema: .make/venv ## Write the JSON Schemas of recipes, watches and reports anew
	$(BIN)/bisector schema > docs/recipe.schema.json
	$(BIN)/bisector schema --of nightly > docs/nightly.schema.json
	$(BIN)/bisector schema --of report > docs/report.schema.json

.PHONY: docs
docs: dist/commands.md .make/docs ## The documentation as a site, with the reference of the commands (dist/site)
	rm -rf dist/docs && mkdir -p dist/docs && cp -r docs/. dist/docs/
	cp README.md dist/docs/index.md && cp CONTRIBUTING.md SECURITY.md CHANGELOG.md dist/commands.md dist/docs/
	sed -i -E 's,\]\((docs|\.\.)/,](,g' dist/docs/*.md
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict

.PHONY: man
man: dist/commands.md .make/docs ## Manual pages of all commands (dist/man)
	.ci/man dist/commands.md dist/man

dist/commands.md: .make/docs FORCE
	@mkdir -p $(@D)
	$(BIN)/typer bisector.cli.app utils docs --name bisector --output $@ >/dev/null

# What the site and the manual pages are made with, and nothing else needs.
.make/docs: .make/venv
	.ci/setup-host docs
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev,docs]'
	@touch $@

.PHONY: clean
clean: ## Remove what this checkout made (the e2e folder stays: rm -r $BISECTOR_E2E)
	rm -rf .make $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache dist
	find bisector tests bench -name __pycache__ -type d -prune -exec rm -rf {} +

# ---- set up ----------------------------------------------------------------------------------------------------------

CHECK_PYTHON = @$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	echo "bisector needs Python 3.11 or later, $(PYTHON) is $$($(PYTHON) -V 2>&1); give another: make PYTHON=..." >&2; \
	exit 1; }

.make/host: .ci/setup-host
	.ci/setup-host
	@mkdir -p $(@D) && touch $@

# What QEMU's own build needs, which nothing else does.
.make/host-qemu: .ci/setup-host
	.ci/setup-host qemu
	@mkdir -p $(@D) && touch $@

# Hosts in network namespaces, each with an sshd. Debian's package starts one of this machine, too, unless a
# policy-rc.d says no.
.make/host-cluster: .ci/setup-host
	.ci/setup-host cluster
	@mkdir -p $(@D) && touch $@

.make/host-book: .ci/setup-host
	.ci/setup-host book
	@mkdir -p $(@D) && touch $@

# Enough to run: no compiler and no tools of development. What "make test" set up is enough, too.
.make/run: .ci/setup-host pyproject.toml
	@mkdir -p $(@D)
	@[ -e .make/venv ] || $(MAKE) --no-print-directory .make/venv-run
	@touch $@

.make/venv-run: .ci/setup-host pyproject.toml
	.ci/setup-host run
	$(CHECK_PYTHON)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --editable .
	@touch $@

# A venv is bound to its path and to the Python that made it.
.make/venv: .make/host pyproject.toml
	$(CHECK_PYTHON)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

# Not stamps alone: the cache that an image lies in may have been removed, and the fragments may be others today.
define image_of
	@if ! { [ -s $@ ] && [ -e "$$(cat $@)" ] && [ "$$(cat $@.of)" = "$(1)" ]; } 2>/dev/null; then \
		$(BIN)/python -m tests.e2e.image --fragments $(1) > $@.new && echo "$(1)" > $@.of && mv $@.new $@; fi
endef

# One kernel that carries every recipe of the book.
.make/book-image: .make/venv FORCE
	$(call image_of,$(BOOK_FRAGMENTS))

# The same as a bzImage, which a boot loader takes. Another config is a whole build (8 minutes were seen), once.
.make/book-bzimage: .make/book-image FORCE
	$(call image_of,$(BOOK_FRAGMENTS) suspend-ram)

.PHONY: FORCE
.make/image: .make/venv FORCE
	$(call image_of,$(IMAGE_FRAGMENTS))
