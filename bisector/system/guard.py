# SPDX-License-Identifier: GPL-2.0-only
"""The small program that stands between us and every process we start; ``proc.py`` starts it, nobody imports it.

It leads a session of its own, adopts every orphan among its descendants (PR_SET_CHILD_SUBREAPER, prctl(2)), and holds
one socket to its owner. When the command ends, when the owner says so, or when the socket closes because the owner
died (kill -9 included), no descendant outlives it, not even one that changed its group or session.

Standard library only and few modules of it: this start is paid for each process. Numbers of signals and options are
Linux's, from <asm/signal.h> and <linux/prctl.h>, because the ``signal`` module costs more than all the rest.

Socket, owner to guard: a length (16 hex digits) and so many bytes, fields joined by NUL: terminal ("1" or "0"),
working folder or "", number of arguments, arguments, environment as NAME=VALUE; then at any time "t" (end politely) or
"k" (kill). Guard to owner, once, at the end: "exit N", "signal N", or "error ERRNO STAGE".

A second argument is the number of a descriptor that the command alone holds on.
"""

from __future__ import annotations

import ctypes
import os
import select
import sys
import time

SIGHUP, SIGINT, SIGKILL, SIGTERM, SIGTTOU = 1, 2, 9, 15, 22
SIG_DFL, SIG_IGN = 0, 1
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
TIOCSCTTY = 0x540E

GRACE = 1.0  # seconds between a polite SIGTERM and SIGKILL
ORPHANED = 0.5  # the same, when the owner is dead
STUBBORN = 10.0  # seconds after which processes that even SIGKILL does not end (state D) are left to the kernel
ORPHANS = 1.0  # seconds between two looks for adopted orphans that ended
AUTOGROUP = "/proc/self/autogroup"
TRIES = 5  # of writing it: the kernel takes one write in a tenth of a second from all who are not root

libc = ctypes.CDLL(None)


def receive(sock: int) -> list[bytes]:
    """Read the request. Exits when the owner died before it was whole: nothing was started yet."""
    length = int(read_exactly(sock, 16), 16)
    return read_exactly(sock, length).split(b"\0")


def read_exactly(sock: int, size: int) -> bytes:
    """Read ``size`` bytes from the owner."""
    data = b""
    while len(data) < size:
        chunk = os.read(sock, size - len(data))
        if not chunk:
            os._exit(0)
        data += chunk
    return data


def spawn(request: list[bytes]) -> tuple[int, bytes]:
    """Start the command in a group of its own. Returns its pid, and what failed ("" when it runs)."""
    terminal, folder, count = request[0] == b"1", request[1], int(request[2])
    argv, environment = request[3 : 3 + count], dict(entry.split(b"=", 1) for entry in request[3 + count :])
    if terminal:
        ctypes.CDLL(None).ioctl(0, TIOCSCTTY, 0)
    failed, report = os.pipe()  # closes at a successful exec
    guard = os.getpid()
    pid = os.fork()
    if pid:
        os.close(report)
        message = os.read(failed, 64)
        os.close(failed)
        return pid, message
    stage = "start"
    try:
        os.setpgid(0, 0)
        if terminal:  # before SIGTTOU goes back to its default: we are in the background here
            libc.signal(SIGTTOU, SIG_IGN)
            os.tcsetpgrp(0, os.getpid())
        for number in range(1, 32):  # who started us may have any of them ignored; 9 and 19 refuse, which is right
            libc.signal(number, SIG_DFL)
        libc.prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0)
        if os.getppid() != guard:  # it died before the line above
            os._exit(127)
        stage = "folder"
        if folder:
            os.chdir(folder)  # the child's own, just before it becomes another program
        stage = "exec"
        os.execvpe(argv[0], argv, environment)
    except OSError as error:
        os.write(report, f"{error.errno} {stage}".encode())
    finally:
        os._exit(127)


def give_way() -> None:
    """Make a low priority count: where the kernel has autogroup, nice counts within a session alone (sched(7))."""
    nice = os.getpriority(os.PRIO_PROCESS, 0)
    for _ in range(TRIES if nice > 0 else 0):
        try:
            group = os.open(AUTOGROUP, os.O_WRONLY)
        except OSError:  # this kernel has none
            return
        try:
            os.write(group, b"%d" % nice)
            return
        except OSError:
            time.sleep(0.1)
        finally:
            os.close(group)


def descendants() -> list[int]:
    """Pids of every living descendant of this process, whatever their group or session."""
    children: dict[int, list[int]] = {}
    for entry in os.scandir("/proc"):
        if not entry.name.isdecimal():
            continue
        try:
            fd = os.open(f"/proc/{entry.name}/stat", os.O_RDONLY)
        except OSError:
            continue
        try:
            fields = os.read(fd, 4096).rpartition(b")")[2].split()
        except OSError:  # it ended between open and read
            continue
        finally:
            os.close(fd)
        if fields[0] not in (b"Z", b"X"):  # a zombie has no children left: they were adopted by us
            children.setdefault(int(fields[1]), []).append(int(entry.name))
    found, queue = [], [os.getpid()]
    while queue:
        for child in children.get(queue.pop(), ()):
            found.append(child)
            queue.append(child)
    return found


def signal_all(number: int) -> None:
    """Send a signal to every descendant."""
    for pid in descendants():
        try:
            os.kill(pid, number)
        except OSError:  # it ended meanwhile, or belongs to another user
            continue


def reap(command: int, status: int | None) -> tuple[int | None, bool]:
    """Collect what ended. Returns the command's wait status once known, and whether any child is left."""
    while True:
        try:
            pid, code = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return status, False
        if pid == 0:
            return status, True
        if pid == command:
            status = code


def kill_everything(command: int, status: int | None) -> int | None:
    """SIGKILL descendants until none is left. Returns the command's wait status."""
    end = time.monotonic() + STUBBORN
    status, left = reap(command, status)
    while left and time.monotonic() < end:
        signal_all(SIGKILL)
        time.sleep(0.005)
        status, left = reap(command, status)
    return status


def guard(sock: int, command: int) -> int | None:
    """Wait for the command's end, an order, or the owner's death; leave no descendant. Returns the wait status."""
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    pause = ORPHANS
    try:
        poll.register(os.pidfd_open(command), select.POLLIN)
    except OSError:  # Linux before 5.3, or forbidden by a sandbox
        pause = 0.02
    status: int | None = None
    deadline: float | None = None  # of the polite ending
    while status is None and (deadline is None or time.monotonic() < deadline):
        events = poll.poll(1000 * (pause if deadline is None else 0.02))
        if any(fd == sock for fd, _ in events):
            try:
                order = os.read(sock, 16)
            except OSError:
                order = b""
            if b"k" in order:
                break
            if not order:
                poll.unregister(sock)
            if deadline is None:
                deadline = time.monotonic() + (GRACE if order else ORPHANED)
                signal_all(SIGTERM)
        status, _ = reap(command, status)
    return kill_everything(command, status)


def main() -> None:
    """Run one command for the owner at the other end of the socket whose number is the first argument."""
    sock = int(sys.argv[1])
    os.set_inheritable(sock, False)
    for number in (SIGHUP, SIGINT, SIGTERM):  # the owner's socket alone decides
        libc.signal(number, SIG_IGN)
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    give_way()
    command, failure = spawn(receive(sock))
    for other in sys.argv[2:]:
        os.close(int(other))
    null = os.open("/dev/null", os.O_RDWR)
    for fd in range(3):  # the output's end is then the end of the command's own tree
        os.dup2(null, fd)
    if failure:
        os.waitpid(command, 0)
        answer = b"error " + failure
    else:
        status = guard(sock, command)
        code = -SIGKILL if status is None else os.waitstatus_to_exitcode(status)
        answer = b"exit %d" % code if code >= 0 else b"signal %d" % -code
    try:  # noqa: SIM105 (contextlib would cost each start 3 ms)
        os.write(sock, answer)
    except OSError:  # the owner is gone; nobody wants the answer
        pass


if __name__ == "__main__":
    main()
