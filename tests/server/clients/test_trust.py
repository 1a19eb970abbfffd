"""The commands' ways to a server, over TLS: each trusts what it is told to, and says what it doesn't."""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from models.errors import ConfigError, CorralError
from server.cli.chat.remote import RemoteBackend
from server.clients.connection import Connection
from server.clients.trust import trust, trust_variables
from server.loadtest.client import Lane, LoadClient
from server.loadtest.session import first_model
from server.loadtest.target import Target
from tests.server.listening.certificates import Pair, make_pair

MODELS = b'{"object": "list", "data": [{"id": "demo", "object": "model"}]}'


class Handler(BaseHTTPRequestHandler):
    """Lists one model."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(MODELS)))
        self.end_headers()
        self.wfile.write(MODELS)

    def log_message(self, *_: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = False

    def handle_error(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return make_pair(tmp_path_factory.mktemp("trust"))


@pytest.fixture(scope="module")
def url(pair: Pair) -> Iterator[str]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*pair)
    with Server(("", 0), Handler) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield f"https://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def test_each_way_with_the_authority_named(url: str, pair: Pair) -> None:
    ca = pair.certificate
    assert Connection(url, ca=ca).ask("GET", "/v1/models").document["data"][0]["id"] == "demo"
    assert asyncio.run(RemoteBackend(url, None, None, ca).start()) == "demo"
    assert first_model(Target.find(url, ca=ca)) == "demo"


def test_each_way_without(url: str) -> None:
    words = "isn't trusted .self-signed certificate.; name the server as its certificate does.*--tls-ca"
    with pytest.raises(CorralError, match=words):
        Connection(url).ask("GET", "/v1/models")
    with pytest.raises(CorralError, match=words):
        asyncio.run(RemoteBackend(url, None, None).start())
    target = Target.find(url)
    [capture] = LoadClient(target).run([Lane.of(target.get("/models"))])
    assert "certificate verify failed" in (capture.error or "")


def test_another_name_than_the_certificates(url: str, pair: Pair) -> None:
    with pytest.raises(CorralError, match=r"isn't trusted .*IP address mismatch"):
        Connection(url.replace("127.0.0.1", "127.0.0.2"), ca=pair.certificate).ask("GET", "/")


def test_files_that_name_nobody(tmp_path: Path, pair: Pair) -> None:
    (tmp_path / "words.pem").write_text("hello")
    for path, words in (
        (tmp_path / "none.pem", "can't read --tls-ca .*No such file"),
        (tmp_path / "words.pem", "--tls-ca .* has no PEM certificate"),
        (pair.key, "--tls-ca .* has no PEM certificate"),
    ):
        with pytest.raises(ConfigError, match=words):
            trust(path)


def test_programs_on_node(pair: Pair) -> None:
    assert trust_variables(None) == {}
    assert trust_variables(pair.certificate) == {"NODE_EXTRA_CA_CERTS": str(pair.certificate)}
