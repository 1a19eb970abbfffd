from __future__ import annotations

import resource

import pytest

from server.http.open_files import ENOUGH_FILES, MOST_CONNECTIONS, connection_limit


@pytest.mark.parametrize(
    ("soft", "hard", "raised", "connections"),
    [
        (1024, 1 << 20, ENOUGH_FILES, MOST_CONNECTIONS),
        (1024, resource.RLIM_INFINITY, ENOUGH_FILES, MOST_CONNECTIONS),
        (1 << 20, 1 << 20, None, MOST_CONNECTIONS),
        (resource.RLIM_INFINITY, resource.RLIM_INFINITY, None, MOST_CONNECTIONS),
        (256, 1024, 1024, 896),
        (1024, 1024, None, 896),
        (100, 100, None, 50),
    ],
)
def test_files_are_left_for_others(
    soft: int, hard: int, raised: int | None, connections: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: (soft, hard))
    monkeypatch.setattr(resource, "setrlimit", lambda _, limits: calls.append(limits))
    assert connection_limit() == connections
    assert calls == ([] if raised is None else [(raised, hard)])
