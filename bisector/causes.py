# SPDX-License-Identifier: GPL-2.0-only
"""Why there is no image, no observation and no verdict: for programs, beside the words that people read."""

from __future__ import annotations

from enum import StrEnum


class FailureCause(StrEnum):
    """Why a candidate did not become an image. A fault of this host is none of them: it is an InfraError."""

    SOURCE = "source"  # a tool named an error in what the candidate holds
    LACKING = "lacking"  # it needs something that is not here: a newer tool, a library, a package that is gone
    COMPILER = "compiler"  # the compiler crashed at it, twice
    UNKNOWN = "unknown"  # no tool named an error


class BuildStage(StrEnum):
    """Where the making of an image failed."""

    EDITS = "edits"  # an edit does not apply
    CONFIG = "config"
    COMPILE = "compile"
    DOWNLOAD = "download"
    UNPACK = "unpack"


class Trouble(StrEnum):
    """What failed in the harness, for programs; ``Observation.detail`` is the text for people."""

    NONE = ""
    KVM = "kvm"  # KVM cannot run a VM on this host, by its own words or QEMU's
    QEMU = "qemu"  # QEMU ended otherwise: killed, out of memory, refused its options
    OTHER = "other"


class Cause(StrEnum):
    """Why a candidate has no verdict that a search can use; ``Judgement.reason`` says it in words."""

    NONE = ""  # it is good or bad; or stored by an earlier version
    NOT_BUILT = "not_built"
    NO_BOOT = "no_boot"
    OTHER_FAILURES = "other_failures"  # its trials ended in other failures than the recipe's
    HARNESS = "harness"  # its trials failed in the harness
    UNDECIDED = "undecided"  # as many trials as are ever drawn leave it open
    NOT_TRIED = "not_tried"


HANGS = ("lockup", "hung")
"""Names of crashes after which the machine may go on, as a trial does: whether a step ends is seen at the deadline."""
