from __future__ import annotations

import pytest

from server.cli.program import main
from server.cluster.haproxy import Address, haproxy_config


def test_it_prints_the_file(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--listen", "10.0.0.9:80", "--prefix-bytes", "64", "10.0.0.1", "10.0.0.2:9000"]
    assert main(["cluster", "config", "haproxy", *arguments]) == 0
    servers = [Address("10.0.0.1", 8000), Address("10.0.0.2", 9000)]
    assert capsys.readouterr().out == haproxy_config(servers, Address("10.0.0.9", 80), prefix_bytes=64)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["haproxy"], "HOST"),
        (["nginx", "10.0.0.1"], "haproxy"),
        (["haproxy", "10.0.0.1:x"], "is no server's address"),
        (["haproxy", "10.0.0.1", "--listen", "https://a"], "give HAProxy a certificate"),
        (["haproxy", "10.0.0.1", "--prefix-bytes", "1"], "--prefix-bytes"),
    ],
)
def test_wrong_usage(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cluster", "config", *arguments]) == 2
    assert words in capsys.readouterr().err
