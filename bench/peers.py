"""Builds what Corral is compared with: llama-server from the sources of the bindings, with the same flags.

Everything goes to the cache outside the tree, keyed like the bindings' wheel: another compiler or other flags
make another build.
"""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
import sys
from pathlib import Path

from scripts import compiler, wheel_cache
from scripts.environment import ROOT
from scripts.steps import say


def llama_server(sources: Path) -> Path:
    """The llama-server of `sources`, built at the first call (about ten minutes on two cores).

    Raises CalledProcessError if the build fails; its output has gone to the terminal.
    """
    found = compiler.find_compiler()
    arguments = [
        argument
        for argument in compiler.cmake_args(found, platform.machine(), os.environ.get("CMAKE_ARGS", ""))
        if not argument.startswith("-DLLAVA_BUILD")
    ]
    key = hashlib.sha256(
        "\0".join([str(sources), str(found), wheel_cache.cpu_identity(), *arguments]).encode()
    ).hexdigest()
    build = wheel_cache.cache_root().parent / "llama-server" / key[:24]
    binary = build / "bin" / "llama-server"
    if not binary.exists():
        say(f"building llama-server, about ten minutes on two cores ({build})")
        options = [
            *("-DCMAKE_BUILD_TYPE=Release", "-DLLAMA_CURL=OFF", "-DLLAMA_BUILD_TESTS=OFF"),
            "-DLLAMA_BUILD_EXAMPLES=OFF",
        ]
        tools = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
        configure = ["cmake", "-G", "Ninja", "-S", str(sources), "-B", str(build), *options, *arguments]
        for command in (configure, ["cmake", "--build", str(build), "--target", "llama-server"]):
            subprocess.run(command, env=tools, stdout=subprocess.DEVNULL, check=True)
    return binary


def llama_cpp_python() -> Path:
    """The Python of an environment with llama-cpp-python's server, set up at the first call."""
    subprocess.run([sys.executable, "-m", "scripts.environment", "--for", "peer"], cwd=ROOT, check=True)
    return ROOT / ".venv-peer" / "bin" / "python"
