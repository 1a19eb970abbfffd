"""`python -m tests.llama_server_suite.run` runs llama.cpp's server tests on Corral and on llama-server.

The tests are those of llama.cpp's sources, unchanged, in a folder of links, so that nothing is written into
the sources. llama-server's passes are what Corral is measured by: what fails on llama-server needs a model
from the Hub. The last lines tell both counts, and every test that passes on llama-server alone.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from xml.etree import ElementTree as ET

from bench import peers
from scripts.environment import ROOT
from scripts.sources import unpack_sources
from tests.llama_server_suite.as_llama_server import BINARY, STAND_INS
from tests.llama_server_suite.stand_ins import make

PORT = 8300
_WGET = '''"""Brings what the suite would download: a stand-in, or nothing."""

import os
import shutil


def download(url: str, out: str) -> None:
    os.makedirs(os.path.dirname(out) or ".", exist_ok=True)
    shutil.copyfile(os.path.join(os.environ["CORRAL_SUITE_STAND_INS"], url.rsplit("/", 1)[-1]), out)
'''


def lay_out(work: Path, sources: Path, program: Sequence[str]) -> Path:
    """Make the folder in which the suite runs, with links to the sources; return its folder of tests."""
    tests = work / "tools" / "server" / "tests"
    tests.mkdir(parents=True, exist_ok=True)
    theirs = sources / "tools" / "server" / "tests"
    links = {
        tests / name: theirs / name for name in ("unit", "fixtures", "utils.py", "conftest.py", "pytest.ini")
    }
    links |= {work / "models": sources / "models", work / "tools" / "mtmd": sources / "tools" / "mtmd"}
    for link, target in links.items():
        link.unlink(missing_ok=True)
        link.symlink_to(target)
    (tests / "wget.py").write_text(_WGET, encoding="utf-8")
    start = tests / "start"
    start.write_text(f'#!/bin/sh\nexec {" ".join(program)} "$@"\n', encoding="utf-8")
    start.chmod(0o755)
    return tests


def run_suite(tests: Path, environment: Mapping[str, str], report: Path, options: Sequence[str]) -> None:
    """Run the tests that aren't marked slow; `report` gets JUnit's XML."""
    subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", "pytest.ini"),
            *("-p", "tests.llama_server_suite.no_downloads"),
            *("-m", "not slow", "-o", "addopts=", "--timeout", "400", f"--junitxml={report}", *options),
        ],
        cwd=tests,
        env=dict(environment),
        check=False,
        stdout=report.with_suffix(".log").open("w"),
        stderr=subprocess.STDOUT,
    )


def outcomes(report: Path) -> dict[str, str]:
    """Return each test's outcome by its name: passed, failed or skipped."""
    found: dict[str, str] = {}
    for case in ET.parse(report).iter("testcase"):  # noqa: S314 - pytest's own file
        kinds = {child.tag for child in case}
        outcome = "failed" if kinds & {"failure", "error"} else "skipped" if "skipped" in kinds else "passed"
        found[f"{case.get('classname', '').rpartition('.')[2]}::{case.get('name')}"] = outcome
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="the folder for models, reports and logs")
    parser.add_argument("--llama-server", type=Path, help="the real server; left out: its last report counts")
    parser.add_argument("--build", action="store_true", help="build llama-server, or use what was built")
    parser.add_argument("--only-llama-server", action="store_true")
    parser.add_argument("--port", type=int, default=PORT)
    parser.add_argument("options", nargs="*", help="for pytest, after --: files, -k …")
    arguments = parser.parse_args()
    work: Path = arguments.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    sources = Path(os.environ.get("CORRAL_LLAMA_CPP_SOURCE") or unpack_sources(dict(os.environ)))
    make(work / "models", sources)
    tests = lay_out(
        work / "tree", sources, (sys.executable, "-m", "tests.llama_server_suite.as_llama_server")
    )
    (work / "home").mkdir(exist_ok=True)
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "LLAMA_SERVER_BIN_PATH": str(tests / "start"),
        STAND_INS: str(work / "models"),
        "CORRAL_HOME": str(work / "home"),
        "PORT": str(arguments.port),
    }
    binary: Path | None = arguments.llama_server
    if binary is None and arguments.build:
        binary = peers.llama_server(sources, os.environ)
    if binary is not None:
        theirs = {**environment, BINARY: str(binary), "LLAMA_CACHE": str(work / "cache")}
        run_suite(tests, theirs, work / "llama-server.xml", arguments.options)
    if not arguments.only_llama_server:
        run_suite(tests, environment, work / "corral.xml", arguments.options)
    return _tell(work, bool(arguments.only_llama_server))


def _tell(work: Path, only_theirs: bool) -> int:
    judge = {name for name, outcome in outcomes(work / "llama-server.xml").items() if outcome == "passed"}
    print(f"llama-server passes {len(judge)}")
    if only_theirs:
        return 0
    ours = outcomes(work / "corral.xml")
    missed = sorted(name for name in judge & ours.keys() if ours[name] != "passed")
    print(f"Corral passes {len(judge & ours.keys()) - len(missed)} of these {len(judge & ours.keys())}; not:")
    for name in missed:
        print(f"  {name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
