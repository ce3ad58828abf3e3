"""The report page of one log on 127.0.0.1, refreshed as the log grows.

Read-only, and closed: two addresses, `/` and `/data.json`, whatever else is asked is 404; no path of the disk is ever taken
from a request. Only requests whose Host header names this server are answered, so no page elsewhere can reach it by a name
that it makes point here (DNS rebinding), and none may read it (no CORS header).
"""

from __future__ import annotations

import hashlib
import http.server
import json
import threading
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from entrostat.errors import ConfigError, EntrostatError
from entrostat.report.content import content_of
from entrostat.report.page import packed, page_of
from entrostat.report.visible import one_line
from entrostat.report.watch import Stamp, stamp

HOST = "127.0.0.1"


class Source:
    """The content of a log, made again when its files have changed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._stamp: Stamp | None = None
        self._content: dict[str, Any] = {}
        self._version = ""

    def now(self) -> tuple[str, dict[str, Any]]:
        """A version, and the content of that version.

        Raises:
            ConfigError, DataError: the log cannot be read; the last content is kept where there is one.
        """
        with self._lock:
            seen = stamp(self.path)
            if seen != self._stamp:
                try:
                    self._content = content_of([self.path])
                except EntrostatError:
                    if not self._content:
                        raise
                self._stamp = seen
                self._version = hashlib.sha256(repr(seen).encode()).hexdigest()[:16]
            return self._version, self._content


class Server(http.server.ThreadingHTTPServer):
    """Serves one log; see the module's docstring.

    Raises:
        ConfigError: the port is taken.
    """

    daemon_threads = True

    def __init__(self, path: Path, port: int = 0) -> None:
        self.source = Source(path)
        try:
            super().__init__((HOST, port), _Handler)
        except OSError as error:
            raise ConfigError(
                f"port {port} of {HOST} cannot be used: {error.strerror or error}. Choose another --port"
            ) from error

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.server_address[1]}/"

    @property
    def names(self) -> tuple[str, ...]:
        """The Host headers that are answered."""
        return tuple(f"{name}:{self.server_address[1]}" for name in (HOST, "localhost"))


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Server
    server_version = "entrostat"
    sys_version = ""
    timeout = 20

    def do_GET(self) -> None:
        """The page, or its data; 304 where the asker has it."""
        if self.headers.get("Host") not in self.server.names:
            self._answer(HTTPStatus.FORBIDDEN, "text/plain", "this server answers to its own address alone\n")
            return
        asked = urlsplit(self.path)
        if asked.path not in ("/", "/data.json"):
            self._answer(HTTPStatus.NOT_FOUND, "text/plain", "there is only /\n")
            return
        try:
            version, content = self.server.source.now()
        except EntrostatError as error:
            self._answer(HTTPStatus.SERVICE_UNAVAILABLE, "text/plain", f"waiting: {one_line(str(error))}\n", retry=True)
            return
        if asked.path == "/":
            self._answer(HTTPStatus.OK, "text/html", page_of(content, live=True))
        elif parse_qs(asked.query).get("since") == [version]:
            self._answer(HTTPStatus.NO_CONTENT, "application/json", "")
        else:
            text = json.dumps({"version": version, "content": packed(content)}, allow_nan=False)
            self._answer(HTTPStatus.OK, "application/json", text)

    def _answer(self, status: HTTPStatus, kind: str, text: str, retry: bool = False) -> None:
        body = text.encode()
        self.send_response(status)
        headers = {
            "Content-Type": f"{kind}; charset=utf-8",
            "Content-Length": str(len(body)),
            "Cache-Control": "no-store",
            "X-Content-Type-Options": "nosniff",
            "X-Frame-Options": "DENY",
            "Referrer-Policy": "no-referrer",
            "Cross-Origin-Resource-Policy": "same-origin",
        }
        if retry:
            headers["Refresh"] = "3"
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """A terminal that shows nothing is quieter, and shows nothing that a request wrote."""


def serve(path: Path, port: int, tell: Callable[[str], Any]) -> None:
    """Serve until Ctrl-C."""
    with Server(path, port) as server:
        tell(f"{one_line(str(path))} is at {server.url} (Ctrl-C to stop)")
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            return
