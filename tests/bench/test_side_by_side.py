from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from bench import quiet, side_by_side
from bench.loads import NAMES, Load, Sizes, loads_named
from bench.rounds import Rounds
from bench.servers import Server
from bench.side_by_side import parse, runnable, servers_of, sizes_of

MODEL = ["--model", "model.gguf"]
SERVER = ["--llama-server", "/bin/llama-server"]


def names(arguments: Sequence[str], load: str) -> list[str]:
    args = parse([*MODEL, *arguments])
    args.eos = [2]
    (one,) = loads_named([load], [8], Sizes())
    return [server.name for server in servers_of(one, args)]


def test_servers_of_a_load() -> None:
    peers = ["llama-server", "llama-server --kv-unified"]
    assert names(SERVER, "streams") == ["corral", *peers]
    assert names([*SERVER, "--layouts", "unified"], "mixed") == ["corral", peers[1]]
    assert names(["--layouts"], "busy") == ["corral"]
    assert names(["--peer-python", "py", "--layouts"], "python-server") == ["corral", "llama_cpp.server"]
    edit = ["--edit-model", "e.gguf"]
    assert names([*SERVER, *edit], "repetitive") == ["corral", "corral --speculate off", *peers]
    assert names(["--layouts", "--without-kernels"], "steady") == ["corral", "corral --kernels off"]
    assert names([*SERVER, "--ik-server", "ik"], "prompt") == ["corral", *peers, "ik_llama.cpp"]
    assert names(["--peer-python", "py", *SERVER, "--ik-server", "ik"], "python-server") == [
        "corral",
        "llama_cpp.server",
    ]
    assert names(["--layouts", "--variant", "kv:--kv-unified"], "prefix") == ["corral", "corral kv"]
    assert names(["--layouts", "--baseline", "old/corral"], "streams") == ["corral", "corral before"]


def test_flags_reach_corral_and_slots_every_server() -> None:
    arguments = ["--layouts", "separate", "--variant", "kv:--kv-unified", "--corral-flags=--n-batch 64"]
    args = parse([*MODEL, *SERVER, *arguments, "--threads", "3"])
    (load,) = loads_named(["prefix"], [], Sizes())
    corral, variant, peer = (list(server.arguments) for server in servers_of(load, args))
    assert corral[-2:] == ["--n-batch", "64"]
    assert variant == [*corral, "--kv-unified"]
    assert corral[corral.index("--parallel") + 1] == peer[peer.index("-np") + 1] == "8"
    assert int(peer[peer.index("-c") + 1]) == 8 * int(corral[corral.index("--ctx") + 1])
    assert corral[corral.index("--threads") + 1] == peer[peer.index("-t") + 1] == "3"


def test_arms_are_started_with_what_they_are_called_after() -> None:
    arguments = ["--edit-model", "e.gguf", "--ik-server", "/bin/ik", "--without-kernels"]
    args = parse([*MODEL, *SERVER, *arguments, "--layouts", "separate", "--threads", "3"])
    (edit,), (other,) = loads_named(["repetitive"], [], Sizes()), loads_named(["prompt"], [], Sizes())
    corral, off, without, peer, ik = (list(server.arguments) for server in servers_of(edit, args))
    assert off == [*corral, "--speculate", "off"]
    assert without == [*corral, "--kernels", "off"]
    assert all(str(args.edit_model) in command for command in (corral, peer, ik))
    assert ik[0] == "/bin/ik"
    assert ik[ik.index("-c") + 1] == peer[peer.index("-c") + 1]
    assert ik[ik.index("-t") + 1] == "3"
    assert all(str(args.model) in server.arguments for server in servers_of(other, args))


def test_every_server_keeps_keys_and_values_in_the_same_type() -> None:
    arguments = ["--ik-server", "/bin/ik", "--layouts", "separate", "--corral-flags=--n-batch 64"]
    (load,) = loads_named(["prompt"], [], Sizes())
    args = parse([*MODEL, *SERVER, *arguments, "--cache-type", "q8_0"])
    corral, peer, ik = (list(server.arguments) for server in servers_of(load, args))
    assert corral[-6:] == ["--type-k", "q8_0", "--type-v", "q8_0", "--n-batch", "64"]
    assert peer[-4:] == ik[-4:] == ["--cache-type-k", "q8_0", "--cache-type-v", "q8_0"]
    args = parse([*MODEL, *SERVER, *arguments])
    assert not any("q8_0" in server.arguments for server in servers_of(load, args))


def test_loads_that_can_not_be_run_are_left_out_or_refused() -> None:
    args = parse([*MODEL, *SERVER])
    assert "python-server" not in args.loads
    assert set(args.loads) == set(NAMES) - {"python-server", "repetitive"}
    assert not runnable("repetitive", args)
    assert not runnable("repetitive", parse([*MODEL, "--edit-model", "e.gguf", "--peer-python", "py"]))
    with pytest.raises(SystemExit):
        parse([*MODEL, "--loads", "streams"])
    with pytest.raises(SystemExit):
        parse([*MODEL, *SERVER, "--variant", "no-flags"])


def test_long_prompts_fit_the_model() -> None:
    args = parse([*MODEL, *SERVER])
    assert sizes_of(args, 4096).long_words == 900
    assert sizes_of(args, 1024).long_words * 1.75 + 16 <= 1024
    assert sizes_of(args, 4096).prompt_tokens == 2000
    (load,) = loads_named(["prompt"], [], sizes_of(args, 1024))
    assert load.room.n_ctx <= 1024
    assert sizes_of(args, None) == Sizes()


@pytest.fixture(autouse=True)
def short_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine's other work is looked at before each round, which takes a second in earnest."""
    monkeypatch.setattr(quiet, "SAMPLE_S", 0.05)


def scripted(load: Load) -> list[Server]:
    """Two servers that are processes, as the real ones."""
    command = [sys.executable, "-m", "tests.server.loadtest.scripted_server", "{port}"]
    return [Server(name, command, "/v1/models", {"x": 1}) for name in ("corral", "llama-server")]


def test_rounds_are_interleaved_and_the_order_rotates(tmp_path: Path) -> None:
    (load,) = loads_named(["streams"], [2], Sizes(prompt_words=5, tokens=4))
    rounds = Rounds(lambda _: "m", scripted, 2, 1, tmp_path, quiet_wait_s=0.0, pause_s=0.0)
    found = rounds.run(load)
    assert [(one.round, one.server) for one in found] == [
        (0, "corral"),
        (0, "llama-server"),
        (1, "llama-server"),
        (1, "corral"),
    ]
    assert all(one.error is None and one.figures["tokens"] == 8 for one in found)
    assert all(one.figures["prompt_tokens"] == 2 * 17 for one in found)
    assert all(("api_cpu_us" in one.figures) == (one.server == "corral") for one in found)


def test_a_whole_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tiny_gguf: Path
) -> None:
    monkeypatch.setattr(side_by_side, "servers_of", lambda load, _: scripted(load))
    out = tmp_path / "out.json"
    arguments = [*("--model", str(tiny_gguf), "--rounds", "1", "--quiet-wait", "0", "--json", str(out))]
    arguments += [*SERVER, "--logs", str(tmp_path), "--loads", "streams", "mixed", "--streams", "1"]
    monkeypatch.setattr(sys, "argv", ["side_by_side", *arguments, "--long-prompts", "1"])
    assert side_by_side.main() == 0
    shown = capsys.readouterr().out
    assert "| streams-1 | tok/s out |" in shown
    assert "of 4 measurements had other work" in shown
    document = json.loads(out.read_text())
    assert document["command"].startswith("python -m bench.side_by_side --model")
    assert {one["load"] for one in document["measurements"]} == {"streams-1", "mixed"}
    assert {one["load"] for one in document["verdicts"]} == {"streams-1", "mixed"}
    assert document["machine"]["cores"] >= 1


def test_a_server_that_does_not_start_is_told_and_the_rest_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tiny_gguf: Path
) -> None:
    def servers(load: Load) -> list[Server]:
        bad = Server("corral", [sys.executable, "-c", "exit('no such flag')"], "/ready")
        return [bad] if load.name == "streams-1" else scripted(load)

    monkeypatch.setattr(side_by_side, "servers_of", lambda load, _: servers(load))
    arguments = ["--model", str(tiny_gguf), "--rounds", "1", "--quiet-wait", "0", "--logs", str(tmp_path)]
    arguments += [*SERVER, "--loads", "streams", "--streams", "1", "2"]
    monkeypatch.setattr(sys, "argv", ["side_by_side", *arguments])
    assert side_by_side.main() == 1
    shown = capsys.readouterr().out
    assert "not measured: corral isn't ready" in shown
    assert "no such flag" in shown
    assert "2 streams, 50 words in" in shown
