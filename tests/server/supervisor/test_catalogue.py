from __future__ import annotations

from pathlib import Path

import pytest

from models.errors import ModelNotFound
from server.supervisor.catalogue import Catalogue, CatalogueEntry


def entry(name: str, type: str | None, size_bytes: int = 10) -> CatalogueEntry:  # noqa: A002
    return CatalogueEntry(name, Path(f"/models/{name}.{type}.gguf"), type, size_bytes, 1)


def stored(*entries: CatalogueEntry) -> Catalogue:
    return Catalogue(source=lambda: entries)


def test_plain_name_takes_the_preferred_type() -> None:
    catalogue = stored(entry("org/a", "Q8_0"), entry("org/a", "Q4_K_M"), entry("org/a", "F16"))
    assert catalogue.resolve("org/a").type == "Q4_K_M"


def test_plain_name_takes_a_loaded_type_over_the_preferred_one() -> None:
    catalogue = stored(entry("a", "Q8_0"), entry("a", "Q4_K_M"))
    assert catalogue.resolve("a", {"a:Q8_0"}).type == "Q8_0"
    assert catalogue.resolve("a", {"a:Q8_0", "a:Q4_K_M"}).type == "Q4_K_M"


def test_plain_name_takes_what_is_served_over_everything() -> None:
    served = entry("a", "Q2_K")
    catalogue = Catalogue([served], lambda: (entry("a", "Q4_K_M"),))
    assert catalogue.resolve("a", {"a:Q4_K_M"}) == served


def test_types_nobody_prefers_by_size() -> None:
    assert stored(entry("a", "IQ4_XS", 30), entry("a", "Q2_K", 20)).resolve("a").type == "Q2_K"


@pytest.mark.parametrize("name", ["a:Q8_0", "a:q8_0", "a:8bit"])
def test_exact_type(name: str) -> None:
    catalogue = stored(entry("a", "Q8_0"), entry("a", "Q4_K_M"))
    assert catalogue.resolve(name, {"a:Q4_K_M"}).type == "Q8_0"


def test_a_name_may_hold_a_colon() -> None:
    assert stored(entry("a:b", None)).resolve("a:b").name == "a:b"


@pytest.mark.parametrize("name", ["", "b", "a:Q5_K_M", "a:nonsense", "A", ":Q8_0"])
def test_unknown(name: str) -> None:
    with pytest.raises(ModelNotFound, match=f"The model `{name}` does not exist"):
        stored(entry("a", "Q8_0")).resolve(name)


def test_served_first_then_by_name_and_nothing_twice() -> None:
    served = entry("z", "Q8_0")
    catalogue = Catalogue([served], lambda: (entry("b", "Q8_0"), served, entry("a", "Q8_0")))
    assert [found.name for found in catalogue.entries()] == ["z", "a", "b"]
    assert [found.name for found in catalogue.plain()] == ["z", "a", "b"]


def test_what_is_stored_later_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.supervisor.catalogue.STALE_AFTER_S", 0.0)
    entries: list[CatalogueEntry] = []
    catalogue = Catalogue(source=lambda: entries)
    assert catalogue.entries() == []
    entries.append(entry("new", "Q8_0"))
    assert catalogue.resolve("new") == entries[0]
