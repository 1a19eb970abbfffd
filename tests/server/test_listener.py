from __future__ import annotations

import socket
from typing import Any

import pytest

from models.errors import ConfigError, CorralError
from server.listener import Listener


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[tuple[int, str]]]:
    """Host names and their addresses, in place of the system's."""
    known: dict[str, list[tuple[int, str]]] = {}

    def getaddrinfo(host: str, port: int, *_: Any, **__: Any) -> list[Any]:
        if host not in known:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [
            (
                family,
                socket.SOCK_STREAM,
                6,
                "",
                (address, port, 0, 0)[: 4 if family == socket.AF_INET6 else 2],
            )
            for family, address in known[host]
        ]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return known


V4, V6 = socket.AF_INET, socket.AF_INET6


def reaches(address: str, port: int) -> bool:
    try:
        socket.create_connection((address, port), timeout=2).close()
    except OSError:
        return False
    return True


def test_a_name_listens_on_all_of_its_addresses_and_on_one_port(
    names: dict[str, list[tuple[int, str]]],
) -> None:
    names["box"] = [(V4, "127.0.0.1"), (V4, "127.0.0.2"), (V6, "::1"), (V4, "127.0.0.1")]
    with Listener.bind("box", 0) as listener:
        listener.listen()
        addresses = [each.getsockname()[0] for each in listener.sockets]
        assert addresses == ["127.0.0.1", "127.0.0.2", "::1"]
        [port] = {each.getsockname()[1] for each in listener.sockets}
        names |= {address: [(V6 if ":" in address else V4, address)] for address in addresses}
        assert all(reaches(address, port) for address in addresses)
    assert not reaches("127.0.0.1", port)


@pytest.mark.parametrize("host", ["localhost", "LocalHost."])
@pytest.mark.parametrize("listed", [[(V4, "127.0.0.1")], [(V6, "::1")], [(V6, "::1"), (V4, "127.0.0.1")]])
def test_localhost_is_both_loopbacks(
    host: str, listed: list[tuple[int, str]], names: dict[str, list[tuple[int, str]]]
) -> None:
    names[host] = listed
    with Listener.bind(host, 0) as listener:
        assert {each.getsockname()[0] for each in listener.sockets} == {"127.0.0.1", "::1"}
        assert len({each.getsockname()[1] for each in listener.sockets}) == 1


@pytest.mark.parametrize("host", ["localhost", "localhost.", "corral.localhost"])
@pytest.mark.usefixtures("names")
def test_localhost_is_known_without_a_list_of_hosts(host: str) -> None:
    with Listener.bind(host, 0) as listener:
        assert [each.getsockname()[0] for each in listener.sockets] == ["127.0.0.1", "::1"]


@pytest.mark.parametrize("host", ["notlocalhost", "localhost.example", ".localhost.example."])
@pytest.mark.usefixtures("names")
def test_other_names_are_not_localhost(host: str) -> None:
    with pytest.raises(ConfigError, match="is no address to listen on"):
        Listener.bind(host, 0)


def test_an_ipv6_address_may_have_brackets() -> None:
    with Listener.bind("[::1]", 0) as listener:
        assert [each.getsockname()[0] for each in listener.sockets] == ["::1"]


def test_addresses_that_are_not_here_are_left_out(names: dict[str, list[tuple[int, str]]]) -> None:
    names["box"] = [(V6, "2001:db8::1"), (V4, "203.0.113.8"), (V4, "127.0.0.1")]
    with Listener.bind("box", 0) as listener:
        assert [each.getsockname()[0] for each in listener.sockets] == ["127.0.0.1"]
        assert listener.getsockname()[0] == "127.0.0.1"
    names["far"] = [(V4, "203.0.113.8"), (V4, "203.0.113.9")]
    with pytest.raises(CorralError, match=r"can't listen on far, port 0: .*; check --host and --port"):
        Listener.bind("far", 0)


def test_one_address_in_use_is_an_error_that_names_it_and_leaves_nothing(
    names: dict[str, list[tuple[int, str]]],
) -> None:
    names |= {"box": [(V4, "127.0.0.1"), (V4, "127.0.0.2")], "127.0.0.2": [(V4, "127.0.0.2")]}
    with Listener.bind("127.0.0.2", 0) as taken:
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(CorralError, match=rf"port {port} on box \(127.0.0.2\) is in use; .*--port"):
            Listener.bind("box", port)
        names["127.0.0.1"] = [(V4, "127.0.0.1")]
        Listener.bind("127.0.0.1", port).close()


def test_all_addresses_of_the_machine_are_one() -> None:
    with Listener.bind("::", 0) as listener:
        listener.listen()
        port = listener.getsockname()[1]
        assert len(listener.sockets) == 1
        assert reaches("127.0.0.1", port)
        assert reaches("::1", port)


@pytest.mark.parametrize("host", ["no.such.name.invalid", "a" * 100 + ".example", "\udcff", "a b"])
def test_what_is_no_address(host: str) -> None:
    with pytest.raises(ConfigError, match=r"is no address to listen on .*--host"):
        Listener.bind(host, 0)
