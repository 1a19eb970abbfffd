"""Certificates for tests, made by the `openssl` command; without it the tests that need them are skipped."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest


class Pair(NamedTuple):
    """A certificate that signs itself, for `localhost` and 127.0.0.1, and its key: PEM files."""

    certificate: Path
    key: Path


def make_pair(folder: Path, name: str = "server", days: int = 365) -> Pair:
    """Return a new pair in `folder`; the key can be read by its owner alone."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("there is no openssl here")
    pair = Pair(folder / f"{name}.pem", folder / f"{name}.key")
    made = [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    made += ["-subj", f"/CN={name}", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    made += ["-days", str(days), "-out", str(pair.certificate), "-keyout", str(pair.key)]
    subprocess.run(made, check=True, capture_output=True)
    pair.key.chmod(0o600)
    return pair
