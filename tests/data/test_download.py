"""A download goes on where it broke off, and nothing unverified is put in place. Nothing here needs a network."""

import hashlib
import http.server
import os
import re
import threading
from types import SimpleNamespace

import pytest

from atif_lib.data.download import download

CONTENT = os.urandom(1_000_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A server of CONTENT that notes the ranges asked for and breaks off after `breaks`, one a request."""
    monkeypatch.setenv("no_proxy", "*")
    state = SimpleNamespace(content=CONTENT, ranges=True, breaks=[], asked=[], page=b"")

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            wanted = self.headers.get("Range")
            state.asked.append(wanted)
            start = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1]) if wanted and state.ranges else 0
            if state.page:
                start = 0
            body = state.page or state.content[start:]
            self.send_response(416 if start and not body else 206 if start else 200)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Content-Type", "text/html; charset=utf-8" if state.page else "application/gzip")
            self.end_headers()
            self.wfile.write(body[: state.breaks.pop(0)] if state.breaks else body)

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    state.url, state.path = f"http://127.0.0.1:{server.server_port}/x", tmp_path / "x.tar.gz"
    state.part = tmp_path / "x.tar.gz.part"
    state.bring = lambda: download(state.url, state.path, SHA256, progress=False)
    yield state
    server.shutdown()
    server.server_close()


def check_whole(server):
    assert server.path.read_bytes() == CONTENT
    assert os.listdir(server.path.parent) == [server.path.name]


def test_it_comes_whole(server):
    assert server.bring() == server.path
    check_whole(server)
    assert server.asked == [None]


def test_broken_connections_are_taken_up_where_they_ended(server):
    server.breaks = [300_000, 500_000]
    server.bring()
    check_whole(server)
    assert server.asked == [None, "bytes=300000-", "bytes=800000-"]


def test_what_an_ended_process_left_is_taken_up(server):
    server.part.write_bytes(CONTENT[:700_001])
    server.bring()
    check_whole(server)
    assert server.asked == ["bytes=700001-"]


def test_all_was_there_and_only_the_check_was_missing(server):
    server.part.write_bytes(CONTENT)
    server.bring()
    check_whole(server)
    assert server.asked == ["bytes=1000000-"]


def test_server_without_ranges_starts_anew(server):
    server.ranges = False
    server.part.write_bytes(b"something else")
    server.bring()
    check_whole(server)


def test_a_login_page_takes_nothing_away(server):
    """A network that wants a login first answers every request with its page and status 200."""
    server.part.write_bytes(CONTENT[:700_001])
    server.page = b"<html>Please log in</html>"
    with pytest.raises(ValueError, match=r"what came, 26 bytes of text/html, has sha256 .*; allowed: "):
        server.bring()
    assert server.part.read_bytes() == CONTENT[:700_001]
    assert os.listdir(server.path.parent) == [server.part.name]
    server.page = b""
    server.bring()
    check_whole(server)
    assert server.asked == ["bytes=700001-"] * 2


def test_a_server_that_starts_anew_and_breaks_off_takes_nothing_away(server):
    server.ranges, server.breaks = False, [300_000] * 3
    server.part.write_bytes(CONTENT[:700_001])
    with pytest.raises(ConnectionError, match="ended after 300000 of 1000000 bytes"):
        server.bring()
    assert server.part.read_bytes() == CONTENT[:700_001]


def test_no_gain_ends_the_trying_and_keeps_what_came(server):
    server.breaks = [300_000, 0]
    with pytest.raises(ConnectionError, match="ended after 300000 of 1000000 bytes"):
        server.bring()
    assert server.part.read_bytes() == CONTENT[:300_000]
    assert not server.path.exists()


def test_another_file_is_refused_and_not_kept(server):
    server.content = CONTENT[:-1] + bytes([CONTENT[-1] ^ 1])
    with pytest.raises(ValueError, match=f"sha256 .*allowed: {SHA256}"):
        server.bring()
    assert not server.path.exists()
    assert not server.part.exists()
    server.content = CONTENT
    server.bring()
    check_whole(server)


def test_progress_is_shown_only_when_asked_for(server, capfd):
    server.bring()
    assert capfd.readouterr().err == ""
    download(server.url, server.path, SHA256)
    assert "x.tar.gz" in capfd.readouterr().err
