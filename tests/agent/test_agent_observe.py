# SPDX-License-Identifier: GPL-2.0-only
"""What the agent reads of the kernel, and what it writes: pure parts, and files in a temporary folder."""

import struct
from pathlib import Path

from bisector.agent.disks import serial_of, serials, vpd_serial
from bisector.agent.leaks import KINDS
from bisector.agent.observe import HEAD, TAIL, BoundedLog, Recorder, build_id, inside_vm, kernel_facts, kmsg_line
from bisector.agent.plan import LEAK, LEFT_OUT, LEFT_OUT_EVENTS, Result, StepFacts, marker
from bisector.codec import load
from bisector.trial.workspace import RESULT


def note(name: bytes, value: bytes, kind: int) -> bytes:
    padded = [part + bytes(-len(part) % 4) for part in (name, value)]
    return struct.pack("=III", len(name), len(value), kind) + b"".join(padded)


def test_build_id_is_found_among_other_notes() -> None:
    wanted = bytes(range(20))
    other = note(b"Xen\0", b"linux", 6) + note(b"Linux\0", b"\1\0\0\0", 257)
    assert build_id(other + note(b"GNU\0", wanted, 3)) == wanted.hex()


def test_kernel_without_build_id_shows_none() -> None:
    assert build_id(note(b"Linux\0", b"\1\0\0\0", 257)) == ""
    assert build_id(b"") == ""
    assert build_id(b"\1\0\0") == ""


def test_kmsg_record_reads_as_dmesg_shows_it() -> None:
    record = b"6,339,5140900,-;NET: Registered protocol family 10\n SUBSYSTEM=net\n"
    assert kmsg_line(record) == b"[    5.140900] NET: Registered protocol family 10\n"


def test_markers_hold_token_and_words() -> None:
    assert marker("t0k", "step", "probe", "begin") == "bisector t0k step probe begin"


def test_flooded_log_keeps_its_first_and_last_half(tmp_path: Path) -> None:
    log = BoundedLog(str(tmp_path / "log"))
    lines = [b"%07d %s\n" % (index, b"x" * 91) for index in range(100_000)]
    for line in lines:
        log.write(line)
    log.close()
    text = (tmp_path / "log").read_bytes()
    assert len(text) <= HEAD + TAIL + 100
    assert text.startswith(lines[0])
    assert text.endswith(lines[-1])
    assert b" bytes left out ...\n" in text


def test_short_log_is_there_whole_before_its_end(tmp_path: Path) -> None:
    log = BoundedLog(str(tmp_path / "log"))
    log.write(b"one\n")
    assert (tmp_path / "log").read_bytes() == b"one\n"  # a kill would leave this
    log.write(b"two\n")
    log.close()
    assert (tmp_path / "log").read_bytes() == b"one\ntwo\n"


def test_a_flood_of_one_event_hides_no_other(tmp_path: Path) -> None:
    recorder = Recorder(str(tmp_path), "t0k", vm=False)
    for _ in range(5_000):
        recorder.event("qmp", "BLOCK_IO_ERROR", "{}")
    recorder.event("qmp", "BLOCK_JOB_ERROR", "{}")
    recorder.write()
    events = load(Result, (tmp_path / "result.json").read_bytes()).events
    assert events[0].name == "BLOCK_IO_ERROR" and len(events) < 50
    assert events[-1].name == "BLOCK_JOB_ERROR"


def test_each_place_that_leaks_is_kept(tmp_path: Path) -> None:
    recorder = Recorder(str(tmp_path), "t0k", vm=False)
    for number in range(KINDS):
        recorder.event("agent", LEAK, f"place_{number} (1 of 64 bytes)")
    recorder.write()
    assert len(load(Result, (tmp_path / "result.json").read_bytes()).events) == KINDS


def test_what_many_steps_printed_does_not_make_a_result_that_nobody_reads(tmp_path: Path) -> None:
    """A device's bytes are no text: each becomes six of JSON."""
    recorder = Recorder(str(tmp_path), "t0k", vm=False)
    for number in range(40):
        recorder.step(StepFacts(f"step-{number}", 1.0, 2.0, done=True, exit=0, detail="\ufffd" * (256 << 10)))
    recorder.write(complete=True)
    steps = load(Result, (tmp_path / "result.json").read_bytes(), limit=RESULT).steps
    assert len(steps) == 40 and len(steps[0].detail) == 256 << 10
    assert steps[-1].detail.startswith(LEFT_OUT)


def test_events_without_end_are_said_to_be_left_out(tmp_path: Path) -> None:
    recorder = Recorder(str(tmp_path), "t0k", vm=False)
    for number in range(5_000):
        recorder.event("qmp", f"MADE_UP_{number}", "{}")
    recorder.write()
    events = load(Result, (tmp_path / "result.json").read_bytes()).events
    assert len(events) < 1000
    assert events[-1].name == LEFT_OUT_EVENTS


def test_serial_comes_from_wherever_the_driver_shows_it(tmp_path: Path) -> None:
    for name in ("vda", "nvme0n1/device", "sda/device", "loop0"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "vda/serial").write_text("leg0")
    (tmp_path / "nvme0n1/device/serial").write_text("leg1                \n")
    (tmp_path / "sda/device/vpd_pg80").write_bytes(b"\0\x80\0\x14leg2                ")
    assert serials(str(tmp_path)) == {"leg0": "vda", "leg1": "nvme0n1", "leg2": "sda"}
    assert serial_of(str(tmp_path / "loop0")) == ""


def test_page_that_is_not_the_serials_is_none() -> None:
    assert vpd_serial(b"\0\x83\0\x04leg0") == ""
    assert vpd_serial(b"\0") == ""


def test_this_host_is_no_vm_of_ours() -> None:
    assert not inside_vm()


def test_the_command_line_of_a_host_is_not_recorded() -> None:
    """A trial without VM runs on the host, and what it records is sent on."""
    assert Path("/proc/cmdline").read_text(encoding="utf-8").strip()
    assert kernel_facts().command_line == ""
