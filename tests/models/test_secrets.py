"""Secrets are cleaned once, and no text keeps one, whatever form it is quoted in."""

from __future__ import annotations

import logging
import sys

import pytest

from models.errors import ConfigError
from models.secrets import HIDDEN, RedactingFormatter, Redactor, clean_address, clean_secret, without_user

SECRET = "sk-very/secret+value=="  # a literal of the tests


@pytest.mark.parametrize("text", ["{}", "{}\n", "\r\n{}\r\n", "  {}\t", "\n\n{}"])
def test_a_secret_is_cleaned(text: str) -> None:
    assert clean_secret(text.format(SECRET), "HF_TOKEN") == SECRET


def test_a_line_break_within_is_cut_out_as_the_hubs_library_does() -> None:
    assert clean_secret("hf_a\nb", "HF_TOKEN") == "hf_ab"


@pytest.mark.parametrize("text", ["", " ", "\n", "\r\n \t"])
def test_nothing_is_no_secret(text: str) -> None:
    assert clean_secret(text, "HF_TOKEN") is None


@pytest.mark.parametrize(
    "character", [" ", "\t", "\0", "\x1b", "\x7f", "ü", "€", "\u00a0", "\u200b", "\udcff"]
)
def test_what_cannot_be_sent_is_refused_without_the_value(character: str) -> None:
    with pytest.raises(ConfigError) as caught:
        clean_secret(f"first{character}second", "HF_TOKEN")
    assert "HF_TOKEN" in caught.value.message
    assert "first" not in caught.value.message
    assert "second" not in caught.value.message


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("HF_TOKEN", "secretsecret", "Illegal header value b'Bearer secretsecret\\n'"),
        ("HF_TOKEN", "secretsecret\n", "header secretsecret"),
        ("HUGGING_FACE_HUB_TOKEN", "secretsecret", "x secretsecret y"),
        ("CORRAL_API_KEYS", "first-key, secretsecret", "given secretsecret and first-key"),
        ("CORRAL_API_KEY", "secretsecret", "secretsecret"),
        ("HTTPS_PROXY", "http://me:secretsecret@proxy:1", "can't connect: secretsecret"),
        ("https_proxy", "http://me:secret%40secret@proxy:1", "can't connect: secret@secret"),
        ("HF_ENDPOINT", "https://me:secretsecret@mirror", "Basic bWU6c2VjcmV0c2VjcmV0"),
        ("HF_TOKEN", "se'cret\\secret", "repr: se\\'cret\\\\secret"),
        ("HF_TOKEN", "secrets\u00e9cret", "bytes: b'Bearer secrets\\xc3\\xa9cret'"),
        ("CORRAL_API_KEYS", "secrets\u00e9cret", 'JSON: {"key": "secrets\\u00e9cret"}'),
        ("HF_ENDPOINT", "me:secretsecret@mirror:1", "me:secretsecret@mirror:1 can't be reached"),
        ("https_proxy", "me:secretsecret@proxy:1", "Basic bWU6c2VjcmV0c2VjcmV0"),
        ("HTTPS_PROXY", "http://me:secret/secret@proxy", "the port can't be 'secret'"),
        ("AWS_SECRET_ACCESS_KEY", "secretsecret", "secretsecret"),
    ],
)
def test_what_is_known_is_hidden(name: str, value: str, text: str) -> None:
    ours = Redactor.of({name: value})(text)
    assert HIDDEN in ours
    for part in ("secret", "first-key", "bWU6"):
        assert part not in ours


@pytest.mark.parametrize(
    "text",
    [
        "the token hf_secretsecret is wrong",
        "api_org_secretsecret",
        "b'Bearer secretsecret'",
        "Authorization: Basic c2VjcmV0c2VjcmV0",
        "https://me:secret@example.org/a",
        "socks5://secret@example.org:1080",
        "GET https://cdn/x?X-Amz-Signature=secret&X-Amz-Credential=secret&b=1",
        "https://cdn/x?Policy=secret&Key-Pair-Id=secret&Signature=secret",
        "https://blob/x?sv=1&sig=secret",
        "https://x/?access_token=secret",
    ],
)
def test_what_looks_like_a_secret_is_hidden(text: str) -> None:
    ours = Redactor()(text)
    assert HIDDEN in ours
    assert "secret" not in ours
    assert "c2VjcmV0" not in ours


@pytest.mark.parametrize(
    "text",
    [
        "the basic thing about a bearer token is its key",
        "https://huggingface.co/org/name/tree/main?tab=files",
        "org/name@main:Q4_K_M has 3 tokens",
        "mail someone@example.org",
    ],
)
def test_other_texts_stay(text: str) -> None:
    assert Redactor.of({"HF_TOKEN": "", "CORRAL_API_KEYS": "a,b", "HOME": "/root"})(text) == text


def test_log_lines_and_tracebacks() -> None:
    formatter = RedactingFormatter("%(message)s", Redactor.of({"HF_TOKEN": "secretsecret"}))
    try:
        raise ValueError("header b'secretsecret'")
    except ValueError:
        record = logging.LogRecord("x", logging.ERROR, "", 0, "at %s", ("secretsecret",), sys.exc_info())
    line = formatter.format(record)
    assert "ValueError" in line
    assert "secretsecret" not in line


def test_a_url_for_people() -> None:
    assert without_user("https://me:word@mirror.example/hub") == "https://mirror.example/hub"
    assert without_user("https://mirror.example/a@b") == "https://mirror.example/a@b"


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("", None),
        (" \n", None),
        ("https://mirror.example/hub/ \n", "https://mirror.example/hub"),
        ("http://me:secret@127.0.0.1:8080", "http://me:secret@127.0.0.1:8080"),
        ("http://[::1]:8080/", "http://[::1]:8080"),
    ],
)
def test_an_address_is_cleaned(text: str, address: str | None) -> None:
    assert clean_address(text, "HF_ENDPOINT") == address


@pytest.mark.parametrize(
    "text",
    [
        "me:secret@mirror",
        "mirror.example",
        "ftp://me:secret@mirror",
        "http://me:secret/secret@mirror",
        "http://me:secret#secret@mirror",
        "http://me:secret@mirror:secret",
        "http://me:secret@mirror:70000",
        "http://me:secret@[::1",
        "https://",
        "http://me:secret@",
    ],
)
def test_what_is_no_address_is_refused_without_the_value(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        clean_address(text, "HF_ENDPOINT")
    assert caught.value.message.startswith("HF_ENDPOINT is no address")
    assert "secret" not in caught.value.message
    assert caught.value.__context__ is None
