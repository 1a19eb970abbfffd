from __future__ import annotations

import pytest

from server.http.hosts import AllowedHosts, Authority, parse_authority, parse_origin, plain_origin


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("corral.example", "corral.example", None),
        ("Corral.Example.:8080", "corral.example", 8080),
        ("127.0.0.1:8000", "127.0.0.1", 8000),
        ("[::1]:8000", "::1", 8000),
        ("[fe80::1%25eth0]", "fe80::1%25eth0", None),
        ("::1", "::1", None),
        ("localhost:", "localhost", None),
        ("", "", None),
    ],
)
def test_hosts(text: str, host: str, port: int | None) -> None:
    assert parse_authority(text) == Authority(host, port)


@pytest.mark.parametrize(
    "text",
    ["a b", "a@b", "a/b", "a:b", "a:1:2", "[::1", "[evil.example]", "a:99999", "a,b", "http://a", "a\\b"],
)
def test_what_is_no_host(text: str) -> None:
    assert parse_authority(text) is None


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "10.1.2.3", "8.8.8.8", "::1", "::ffff:127.0.0.1", "fe80::1%25eth0", "localhost", "x", "",
     "a.localhost", "box.local", "host.docker.internal", "nas.home.arpa",
     "corral.example", "one.lab.example", "two.one.lab.example"],
)  # fmt: skip
def test_names_that_are_answered(host: str) -> None:
    assert AllowedHosts(["Corral.Example.", "*.lab.example"]).allow(host)


@pytest.mark.parametrize(
    "host",
    ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "corral.example.evil.example",
     "evilcorral.example", "lab.example", "evillab.example", "local.example", "127.0.0.1.nip.io",
     "1.2.3.4.5"],
)  # fmt: skip
def test_names_that_are_not(host: str) -> None:
    assert not AllowedHosts(["corral.example", "*.lab.example"]).allow(host)
    assert AllowedHosts(["*"]).allow(host)


@pytest.mark.parametrize(
    ("origin", "host", "own", "program"),
    [
        ("http://localhost:8000", "localhost:8000", True, False),
        ("HTTP://LocalHost:8000", "localhost:8000", True, False),
        ("https://corral.example", "corral.example", True, False),
        ("http://127.0.0.1", "127.0.0.1:80", True, False),
        ("http://[::1]:8000", "[::1]:8000", True, False),
        ("http://localhost:3000", "localhost:8000", False, False),
        ("http://localhost", "localhost:8000", False, False),
        ("http://127.0.0.1:8000", "localhost:8000", False, False),
        ("https://evil.example", "localhost:8000", False, False),
        ("file://", "localhost:8000", False, False),
        ("ftp://evil.example", "localhost:8000", False, False),
        ("vscode-webview://abc", "localhost:8000", False, True),
        ("tauri://localhost", "localhost:8000", False, True),
        ("chrome-extension://abcdef", "localhost:8000", False, True),
        ("ftp-x://localhost:8000", "localhost:8000", False, True),
    ],
)
def test_origins(origin: str, host: str, own: bool, program: bool) -> None:
    parsed, authority = parse_origin(origin), parse_authority(host)
    assert parsed is not None
    assert authority is not None
    assert (parsed.is_of(authority), parsed.is_a_programs) == (own, program)


@pytest.mark.parametrize("text", ["null", "", "evil.example", "http//x", "http://a b", "https://a@b", "*"])
def test_what_is_no_origin(text: str) -> None:
    assert parse_origin(text) is None


@pytest.mark.parametrize(
    ("written", "plain"),
    [
        ("https://App.example:443/", "https://app.example"),
        ("http://[::1]:80", "http://[::1]"),
        ("https://app.example:80", "https://app.example:80"),
        ("http://app.example:8080", "http://app.example:8080"),
        ("file://", "file://"),
        ("null", "null"),
        ("*", "*"),
    ],
)
def test_an_origin_as_browsers_write_it(written: str, plain: str) -> None:
    assert plain_origin(written) == plain
