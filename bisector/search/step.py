# SPDX-License-Identifier: GPL-2.0-only
"""A messenger that `git bisect run` starts at each step: ``python -I -S step.py SOCKET``. Standard library only.

It asks the running campaign for the verdict of BISECT_HEAD and exits with the code that it answers. Whatever goes wrong
here is 128, which ends the bisection; a traceback's exit code 1 would be read as "bad" (git-bisect(1)).
"""

import os
import socket
import subprocess
import sys

ABORT = 128  # lowest code that ends `git bisect run`
VERDICTS = (b"0", b"1", b"125")


def candidate() -> str:
    """The commit that git wants judged: with --no-checkout it is BISECT_HEAD of this worktree."""
    argv = ["git", "rev-parse", "--verify", "BISECT_HEAD"]
    return subprocess.run(
        argv, check=True, capture_output=True, text=True, stdin=subprocess.DEVNULL, encoding="utf-8"
    ).stdout.strip()


def ask(path: str, revision: str) -> int:
    """The campaign's answer. Waits as long as the campaign lives: when it dies, the kernel closes the connection."""
    # A socket's name holds 107 bytes at most (unix(7)); by way of an open folder it is short wherever the folder is.
    place, _, name = path.rpartition("/")
    folder = os.open(place, os.O_PATH | os.O_DIRECTORY)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.connect(f"/proc/self/fd/{folder}/{name}")
        connection.sendall(revision.encode() + b"\n")
        with connection.makefile("rb") as answers:
            answer = answers.readline()
    word = answer.removesuffix(b"\n")
    return int(word) if answer.endswith(b"\n") and word in VERDICTS else ABORT


def main() -> int:
    """Exit code for git."""
    try:
        return ask(sys.argv[1], candidate())
    except BaseException as error:  # noqa: BLE001 - a KeyboardInterrupt here must not be taken for a verdict either
        print(f"step: {error!r}", file=sys.stderr)
        return ABORT


if __name__ == "__main__":
    os._exit(main())  # nothing may change the code on the way out
