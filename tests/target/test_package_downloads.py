# SPDX-License-Identifier: GPL-2.0-only
"""What a kernel of packages downloads: once, and on from where it broke off."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from deb_archive import build_deb, kernel_files
from package_archive import NEEDED, REL, VERSION, Place, made, modules_of

from bisector.interfaces import Phase, Progress
from bisector.target.kernel_package import KernelPackage

pytestmark = pytest.mark.skipif(
    any(shutil.which(tool) is None for tool in ("apt-get", "dpkg-deb", "gcc")), reason="needs apt, dpkg-deb and gcc"
)


def test_a_second_image_needs_no_mirror(place: Place) -> None:
    place.mirror.add(place.deb())
    place.mirror.publish()
    first = made(place.target())
    shutil.rmtree(place.mirror.root)
    again = place.target()
    assert made(again) == first
    assert again.downloaded == 0


def test_other_modules_of_the_same_package_need_no_mirror(place: Place) -> None:
    place.mirror.add(place.deb())
    place.mirror.publish()
    target = place.target()
    made(target)
    shutil.rmtree(place.mirror.root)
    source = target._source
    more = KernelPackage(source, place.root / "cache", place.processes, (*NEEDED, "radio"))
    assert "tuner.ko" in modules_of(made(more))
    assert more.downloaded == 0


def test_a_download_tells_how_far_it_is_and_counts_its_bytes(place: Place) -> None:
    deb = place.mirror.add(place.deb())
    place.mirror.publish()
    messages: list[Progress] = []
    target = place.target()
    made(target, listener=messages.append)
    assert (messages[0].phase, messages[0].fraction) == ("download", 0.0)
    assert messages[-1].phase is Phase.UNPACK
    assert target.downloaded == deb.stat().st_size


def test_a_download_that_breaks_off_is_gone_on_with(tmp_path: Path) -> None:
    with flaky_server(tmp_path / "mirror") as (uri, served):
        place = Place(tmp_path, uri)
        release = kernel_files(REL)
        release["usr/share/doc/ballast"] = os.urandom(600_000)
        deb = place.mirror.add(build_deb(tmp_path / "built", f"linux-image-{REL}", VERSION, release))
        place.mirror.publish()
        made(place.target())
        assert len(served) == 2
        assert served[0] + served[1] == deb.stat().st_size  # the second downloads only the rest


@contextmanager
def flaky_server(folder: Path) -> Iterator[tuple[str, list[int]]]:
    """Serves ``folder``; the first answer with a .deb breaks off in the middle. Gives its address, and bytes served."""
    served: list[int] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            path = folder / self.path.lstrip("/").replace("%2b", "+").replace("%7e", "~")
            if not path.is_file():
                self.send_error(404)
                return
            content = path.read_bytes()
            range_header = self.headers.get("Range", "")
            begin = int(range_header.removeprefix("bytes=").split("-")[0]) if range_header else 0
            self.send_response(206 if range_header else 200)
            if range_header:
                self.send_header("Content-Range", f"bytes {begin}-{len(content) - 1}/{len(content)}")
            self.send_header(
                "Last-Modified", time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(path.stat().st_mtime))
            )
            body = content[begin:]
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if path.suffix == ".deb":
                if not served:
                    body = body[: len(body) // 2]
                    self.close_connection = True
                served.append(len(body))
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", served
    finally:
        server.shutdown()
        server.server_close()
