"""`Paths`: the folders that Corral uses, made once from the environment. Creates nothing."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Paths:
    """The folders in use.

    `home` (CORRAL_HOME) holds all that Corral writes; `hf_cache` is the Hub's, shared with other tools.
    """

    home: Path
    hf_cache: Path

    @classmethod
    def from_environment(cls, env: Mapping[str, str] = os.environ) -> Paths:
        """Read CORRAL_HOME, or XDG_DATA_HOME, and, as every Hub tool reads them, HF_HUB_CACHE and HF_HOME."""
        return cls(home=_corral_home(env), hf_cache=_hf_cache(env))

    @property
    def models_dir(self) -> Path:
        """Quantized files and their manifests."""
        return self.home / "models"

    @property
    def adapters_dir(self) -> Path:
        """GGUF files made of PEFT adapters; can be deleted at any time while no server runs."""
        return self.home / "adapters"

    @property
    def staging_dir(self) -> Path:
        """Files being written, on the same file system as `models_dir`."""
        return self.home / "staging"

    @property
    def prefixes_dir(self) -> Path:
        """States of models after the beginnings of prompts, kept over restarts."""
        return self.home / "prefix-cache"

    @property
    def rpc_cache_dir(self) -> Path:
        """Tensors that clients of `corral cluster share --cache` have sent; can be deleted at any time."""
        return self.home / "rpc-cache"

    @property
    def locks_dir(self) -> Path:
        return self.home / "locks"

    @property
    def verified_dir(self) -> Path:
        """Marks of Hub files that have been found to have their sha256."""
        return self.home / "verified"

    @property
    def compiled_dir(self) -> Path:
        """Encoders compiled for this machine."""
        return self.home / "compiled"

    @property
    def responses_file(self) -> Path:
        """The kept responses and conversations, which hold what clients and models have said."""
        return self.home / "responses" / "state.sqlite"

    @property
    def chats_file(self) -> Path:
        """The web page's chats, which hold what its users and models have said."""
        return self.home / "chats" / "chats.sqlite"

    @property
    def batches_dir(self) -> Path:
        """Uploaded files, batches and their results, which hold what clients and models have said."""
        return self.home / "batches"

    @property
    def keys_file(self) -> Path:
        """The named API keys, as hashes."""
        return self.home / "keys.json"

    @property
    def usage_file(self) -> Path:
        """The usage per key, model and day."""
        return self.home / "usage" / "usage.sqlite"

    @property
    def tuning_dir(self) -> Path:
        """The results of `corral tune` for this machine."""
        return self.home / "tuning"

    @property
    def clients_dir(self) -> Path:
        """Settings of clients that were started for a server, and backups of those of the user's."""
        return self.home / "clients"


def _corral_home(env: Mapping[str, str]) -> Path:
    given = env.get("CORRAL_HOME", "").strip("\r\n")
    if given:
        return _folder(given, env)
    data = env.get("XDG_DATA_HOME")
    return (_folder(data, env) if data else _user_home(env) / ".local" / "share") / "corral"


def _hf_cache(env: Mapping[str, str]) -> Path:
    given = env.get("HF_HUB_CACHE") or env.get("HUGGINGFACE_HUB_CACHE")
    if given:
        return _folder(given, env)
    hf_home = env.get("HF_HOME")
    if hf_home:
        return _folder(hf_home, env) / "hub"
    cache = env.get("XDG_CACHE_HOME")
    return (_folder(cache, env) if cache else _user_home(env) / ".cache") / "huggingface" / "hub"


def _folder(text: str, env: Mapping[str, str]) -> Path:
    """Return an absolute path, `~` expanded (with `env`'s HOME)."""
    if text == "~" or text.startswith("~/"):
        return _user_home(env) / text[2:]
    return Path(text).absolute()


def _user_home(env: Mapping[str, str]) -> Path:
    home = env.get("HOME")
    return Path(home) if home else Path.home()
