from __future__ import annotations

import pytest

from models.errors import ConfigError
from models.rpc.address import ServerAddress, parse_servers


@pytest.mark.parametrize(
    ("text", "is_loopback"),
    [
        ("127.0.0.1:50052", True),
        ("127.9.9.9:1", True),
        ("localhost:65535", True),
        ("10.0.0.1:50052", False),
        ("box-2.lan:50052", False),
        ("localhost.example:50052", False),
    ],
)
def test_addresses(text: str, is_loopback: bool) -> None:
    address = ServerAddress.parse(f" {text} ")
    assert str(address) == text
    assert address.is_loopback == is_loopback


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[::1]:50052", "IPv6"),
        ("::1:50052", "IPv6"),
        ("fe80::1", "IPv6"),
        ("10.0.0.1", "HOST:PORT"),
        (":50052", "HOST:PORT"),
        ("10.0.0.1:0", "HOST:PORT"),
        ("10.0.0.1:65536", "HOST:PORT"),
        ("10.0.0.1:٣", "HOST:PORT"),
        ("10.0.0.1:9999999999999999999999", "HOST:PORT"),
        ("10.0.0:50052", "HOST:PORT"),
        ("10.0.0.256:50052", "HOST:PORT"),
        ("a b:50052", "HOST:PORT"),
        ("http//x:50052", "HOST:PORT"),
    ],
)
def test_what_is_no_address(text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        ServerAddress.parse(text)


def test_several_in_one_text_and_nothing_in_a_network_unless_it_is_private() -> None:
    both = ["127.0.0.1:1, localhost:2", "127.0.0.1:3"]
    assert [str(one) for one in parse_servers(both, network_is_private=False)] == [
        "127.0.0.1:1",
        "localhost:2",
        "127.0.0.1:3",
    ]
    with pytest.raises(ConfigError, match="neither encryption nor passwords"):
        parse_servers(["127.0.0.1:1,10.0.0.1:2"], network_is_private=False)
    assert len(parse_servers(["127.0.0.1:1,10.0.0.1:2"], network_is_private=True)) == 2
    with pytest.raises(ConfigError, match="named twice"):
        parse_servers(["127.0.0.1:1,127.0.0.1:1"], network_is_private=True)
    with pytest.raises(ConfigError, match=r"127\.0\.0\.1:1 is named twice"):
        parse_servers(["LocalHost:1,127.0.0.1:1"], network_is_private=False)


@pytest.mark.parametrize("text", ["", " , "])
def test_texts_without_a_server(text: str) -> None:
    with pytest.raises(ConfigError, match="names no server"):
        parse_servers([text], network_is_private=False)
    assert parse_servers([], network_is_private=False) == ()
