# SPDX-License-Identifier: GPL-2.0-only
"""The database's connection: every statement under one lock, every fault with what to do."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from bisector import __version__
from bisector.codec import DecodeError, load
from bisector.errors import InfraError
from bisector.store.schema import ANOTHER, connect, writer
from bisector.system.xdg import private

T = TypeVar("T")

LEAST_SPACE = 64 << 10
"""Bytes: SQLite's index of its log alone has 32 KiB (sqlite.org/walformat.html)."""

DAMAGED = (sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT)
"""Codes of SQLite where what the file holds is at fault, not the disk or the rights (sqlite.org/rescode.html)."""


class Database:
    """The database at ``folder/bisector.db``: one connection, for any thread.

    Raises InfraError, with what to do, whenever the disk or the database refuses.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = threading.RLock()
        with self._guard():
            private(folder)
            self._db = connect(folder / "bisector.db")
            self._writer = writer(self._db)

    def close(self) -> None:
        """Close the database. The store cannot be used afterwards."""
        self._db.close()

    @contextmanager
    def _guard(self) -> Iterator[None]:
        try:
            with self._lock:
                yield
        except (sqlite3.Error, OSError) as error:
            said = "no space is left on its disk" if _is_full(self.folder) else str(error)
            raise InfraError(
                f"the store in {self.folder} cannot be used: {said}",
                hint=_advice(error),
            ) from error

    def _write(self, statement: str, values: tuple[object, ...]) -> int:
        with self._guard():
            return self._execute(statement, values).lastrowid or 0

    def _rows(self, statement: str, values: tuple[object, ...] = ()) -> list[sqlite3.Row]:
        with self._guard():
            return self._execute(statement, values).fetchall()

    def _execute(self, statement: str, values: tuple[object, ...] = ()) -> sqlite3.Cursor:
        """Run one statement. Half of a surrogate pair, which no UTF-8 has, becomes a question mark."""
        whole = (value.encode(errors="replace").decode() if isinstance(value, str) else value for value in values)
        return self._db.execute(statement, tuple(whole))

    @contextmanager
    def _together(self) -> Iterator[None]:
        """Meanwhile what is written is written all or not at all."""
        self._db.execute("begin immediate")
        try:
            yield
            self._db.execute("commit")
        except BaseException:
            with suppress(sqlite3.Error):  # on a full disk SQLite has rolled back by itself, and says so once more
                self._db.execute("rollback")
            raise

    # ---- types as JSON

    def read(self, kind: type[T], text: str, what: str) -> T:
        """A frozen type from its JSON. Raises InfraError: a newer version may have written what we do not know.

        Args:
            what: names it in the error.
        """
        try:
            return load(kind, text)
        except DecodeError as error:
            raise InfraError(
                f"{what} cannot be read: {error}",
                hint=f"{self.folder}/bisector.db was written by {self._writer}, and this is bisector {__version__}: "
                "use the newer of the two",
            ) from error

    def _of(self, campaign: str, kind: type[T], text: str) -> T:
        return self.read(kind, text, f"campaign {campaign}")


def _is_full(folder: Path) -> bool:
    """Whether the disk has no space for as little as SQLite needs to open a file: it says "disk I/O error" then."""
    try:
        space = os.statvfs(folder)
    except OSError:
        return False
    return space.f_bavail * space.f_frsize < LEAST_SPACE


def _advice(error: Exception) -> str:
    code = getattr(error, "sqlite_errorcode", None)  # an extended one has the plain one in its low byte
    if code is not None and code & 0xFF in DAMAGED:
        return f"the database is damaged, or is none of bisector's: {ANOTHER}"
    return "free space or correct the folder's rights, then repeat the command; nothing finished is lost"
