from __future__ import annotations

import pytest

from models.errors import ConfigError, ModelNotFound
from server.clients.client import ServedModel
from server.clients.connection import root_of
from server.clients.running_server import choose, local_url


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:8000"),
        ("0.0.0.0", "http://127.0.0.1:8000"),  # noqa: S104
        ("::", "http://[::1]:8000"),
        ("::1", "http://[::1]:8000"),
        ("corral.example", "http://corral.example:8000"),
    ],
)
def test_a_server_is_reached_where_it_listens(host: str, url: str) -> None:
    assert local_url(host, 8000) == url


@pytest.mark.parametrize(
    ("url", "root"),
    [
        ("localhost:8000", "http://localhost:8000"),
        ("http://h:1/v1/", "http://h:1"),
        ("https://h/api/v1", "https://h/api"),
    ],
)
def test_the_root_of_an_address(url: str, root: str) -> None:
    assert root_of(url) == root


@pytest.mark.parametrize("url", ["", "ftp://h", "http://", "http://h:0", "http://h:x", "http://a b"])
def test_what_is_no_address(url: str) -> None:
    with pytest.raises(ConfigError, match="http://HOST:PORT"):
        root_of(url)


def test_a_model_may_be_named_with_its_type() -> None:
    listed = [ServedModel("org/a", 1024), ServedModel("org/b", 2048)]
    assert choose(listed, None, "u") == listed[0]
    assert choose(listed, "org/b:Q8_0", "u") == ServedModel("org/b:Q8_0", 2048)
    with pytest.raises(ModelNotFound, match="it has org/a, org/b"):
        choose(listed, "org/c", "u")
    with pytest.raises(ModelNotFound, match="corral serve"):
        choose([], None, "u")


def test_a_short_name_is_enough() -> None:
    listed = [ServedModel("org/tiny-1b", 512), ServedModel("demo", 512)]
    assert choose(listed, "tiny:Q8_0", "URL").name == "org/tiny-1b:Q8_0"
    assert choose(listed, "org/tiny-1b", "URL").name == "org/tiny-1b"
