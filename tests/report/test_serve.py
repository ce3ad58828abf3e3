"""The server of `watch --web`: two addresses, one host, nothing to write."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from report.report_case import write_run

from entrostat.errors import ConfigError
from entrostat.report.serve import Server


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    run = write_run(tmp_path / "run")
    (tmp_path / "secret.txt").write_text("secret")
    with Server(run) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def ask(server: Server, path: str, host: str | None = None, method: str = "GET") -> tuple[int, bytes, dict[str, str]]:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_address[1], timeout=10)
    connection.putrequest(method, path, skip_host=True)
    connection.putheader("Host", host or f"127.0.0.1:{server.server_address[1]}")
    connection.endheaders()
    answer = connection.getresponse()
    return answer.status, answer.read(), dict(answer.getheaders())


def test_the_page_and_its_data(server: Server) -> None:
    status, page, headers = ask(server, "/")
    assert status == 200 and b"Entrostat" in page and headers["X-Content-Type-Options"] == "nosniff"
    assert "Access-Control-Allow-Origin" not in headers
    status, data, _ = ask(server, "/data.json")
    version = json.loads(data)["version"]
    assert status == 200 and ask(server, f"/data.json?since={version}")[0] == 204
    log = server.source.path / "metrics.jsonl"
    log.write_text(log.read_text() + '{"step": 61, "entropy_control/measured": 0.3}\n')
    assert json.loads(ask(server, f"/data.json?since={version}")[1])["content"]["runs"][0]["last"] == 61


@pytest.mark.parametrize(
    "path",
    ["/metrics.jsonl", "/../secret.txt", "/%2e%2e/secret.txt", "//secret.txt", "/config.yaml", "/data.json/", "/x?y"],
)
def test_nothing_else_is_served(server: Server, path: str) -> None:
    status, body, _ = ask(server, path)
    assert status == 404 and b"secret" not in body


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1", "evil.example:80", "localhost.evil.example", "[::1]"])
def test_other_names_for_it_are_refused(server: Server, host: str) -> None:
    assert ask(server, "/", host)[0] == 403 and ask(server, "/data.json", host)[0] == 403
    assert ask(server, "/", f"localhost:{server.server_address[1]}")[0] == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
def test_it_only_reads(server: Server, method: str) -> None:
    assert ask(server, "/", method=method)[0] == 501


def test_only_this_machine_is_listened_to(server: Server) -> None:
    assert server.server_address[0] == "127.0.0.1"


def test_a_log_that_is_not_there_yet_is_waited_for(tmp_path: Path) -> None:
    with Server(tmp_path / "later") as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        status, body, headers = ask(server, "/")
        assert status == 503 and body.startswith(b"waiting") and headers["Refresh"] == "3"
        write_run(tmp_path / "later")
        assert ask(server, "/")[0] == 200
        server.shutdown()


def test_a_taken_port_is_said(server: Server) -> None:
    with pytest.raises(ConfigError, match="another --port"):
        Server(server.source.path, server.server_address[1])
