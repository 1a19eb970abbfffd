"""The pages and their files: the policy that they come with, and that they hold nothing foreign."""

from __future__ import annotations

import re
from typing import Any

import pytest

from server.pages.files import CONTENT_SECURITY_POLICY, FOLDER, PageFiles, page_files
from tests.server.http_client import client_for, error_of

PAGES = ("/", "/docs")


@pytest.mark.parametrize("path", [*PAGES, "/web/assets/js/app.js", "/web/assets/css/theme.css"])
async def test_every_file_comes_with_the_policy(path: str) -> None:
    async with client_for() as client:
        response = await client.get(path)
    assert response.status_code == 200
    assert response.headers["content-security-policy"] == CONTENT_SECURITY_POLICY
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.headers["referrer-policy"] == "no-referrer"


def test_the_policy_lets_nothing_in() -> None:
    rules = dict(rule.split(" ", 1) for rule in CONTENT_SECURITY_POLICY.split("; "))
    assert rules["default-src"] == "'none'"
    assert rules["script-src"] == rules["style-src"] == rules["connect-src"] == "'self'"
    assert "unsafe" not in CONTENT_SECURITY_POLICY
    assert "*" not in CONTENT_SECURITY_POLICY
    assert "http" not in CONTENT_SECURITY_POLICY


@pytest.mark.parametrize("name", ["chat.html", "docs.html", "plain.html"])
def test_the_pages_have_no_inline_script_or_style_and_name_only_files_that_are_here(name: str) -> None:
    text = (FOLDER / name).read_text()
    assert not re.search(r"<script(?![^>]*\bsrc=)", text)
    assert not re.search(r"<style|\bstyle=|\son\w+=", text)
    known = {f"/web/assets/{each}" for each in page_files().names()}
    files = re.findall(r'(?:src|href)="(/web/[^"]+)"', text)
    assert files
    assert set(files) <= known
    assert not re.search(r'(?:src|href)="(https?:)?//', text)


@pytest.mark.parametrize("path", sorted((FOLDER / "js").rglob("*.js")), ids=lambda path: path.name)
def test_modules_import_only_files_that_are_here_and_make_no_html_of_text(path: Any) -> None:
    text = path.read_text()
    known = set(page_files().names())
    for name in re.findall(r'from "([^"]+)"', text) + re.findall(r'import "([^"]+)"', text):
        if name.startswith("/"):
            target = name.removeprefix("/web/assets/")
        else:
            target = (path.parent / name).resolve().relative_to(FOLDER).as_posix()
        assert target in known, name
    for word in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function"):
        assert word not in text
    assert len(text.splitlines()) <= 400


async def test_a_file_is_sent_again_only_when_it_has_changed() -> None:
    async with client_for() as client:
        first = await client.get("/web/assets/js/app.js")
        tag = first.headers["etag"]
        again = await client.get("/web/assets/js/app.js", headers={"if-none-match": f'"old", W/{tag}'})
        other = await client.get("/web/assets/js/app.js", headers={"if-none-match": '"old"'})
    assert first.headers["cache-control"] == "no-cache"
    assert (again.status_code, again.content) == (304, b"")
    assert (other.status_code, other.content) == (200, first.content)


@pytest.mark.parametrize(
    ("accepted", "encoding"),
    [
        ("gzip, deflate", "gzip"),
        ("br;q=1.0, GZIP;q=0.5", "gzip"),
        ("gzip;q=0", None),
        ("br", None),
        ("", None),
    ],
)
async def test_a_file_is_compressed_for_those_that_can_read_it(accepted: str, encoding: str | None) -> None:
    async with client_for() as client:
        response = await client.get("/web/assets/css/page.css", headers={"accept-encoding": accepted})
    assert response.headers.get("content-encoding") == encoding
    assert response.content == (FOLDER / "css/page.css").read_bytes()
    assert response.headers["vary"] == "Accept-Encoding"


@pytest.mark.parametrize(
    "path",
    [
        "../pages/files.py",
        "%2e%2e/pages/files.py",
        "..%2fpages%2ffiles.py",
        "js",
        "js/",
        "nothing.js",
        "/etc/passwd",
    ],
)
async def test_nothing_else_can_be_had(path: str) -> None:
    async with client_for() as client:
        response = await client.get(f"/web/assets/{path}")
    assert response.status_code == 404
    assert error_of(response)["code"] == "unknown_url"


async def test_the_pages_need_no_key_and_their_data_does() -> None:
    async with client_for(api_keys=("secret",)) as client:
        for path in (*PAGES, "/web/assets/js/app.js", "/openapi.json"):
            assert (await client.get(path)).status_code == 200, path
        for path in ("/web/chats", "/web/chats/x", "/web/assets", "/web/other", "/admin/requests"):
            assert (await client.get(path)).status_code == 401, path


def test_only_known_kinds_of_files_are_listed(tmp_path: Any) -> None:
    (tmp_path / "a.js").write_text("1")
    (tmp_path / "b.py").write_text("1")
    (tmp_path / ".c").write_text("1")
    assert list(PageFiles(tmp_path).names()) == ["a.js"]


def test_the_licences_of_what_is_bundled_are_here() -> None:
    text = (FOLDER / "vendor/LICENSES.txt").read_text()
    for name in (path.name for path in (FOLDER / "vendor").iterdir() if path.name != "LICENSES.txt"):
        assert name in text
