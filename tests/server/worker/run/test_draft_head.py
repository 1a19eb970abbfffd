"""A head beside the served model: it changes how many steps there are, not what is said."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from models.demo import DEMO_DIR
from models.errors import InvalidGGUF, ModelLoadError
from models.gguf.info import read_gguf_info
from models.llamacpp.context import Context
from models.llamacpp.model import Model
from server.engine.engine import Engine, EngineConfig
from server.engine.speculation.speculation import PAUSE_STEPS, Speculation
from server.ipc.model_spec import ModelSpec
from server.worker.open.heads import open_head, open_own_head
from server.worker.run import draft_head
from server.worker.run.draft_head import HeadProposer
from server.worker.run.runner import RunnerParts
from tests.head_gguf import head_tensors, write_head_gguf
from tests.quantize.quantize_folder import quantize_folder
from tests.server.worker.family_models import write_family_gguf
from tests.server.worker.open.loaded import loaded, spec_of
from tests.server.worker.session import Ask, Session, ask, f32_context, open_runner, random_prompt

pytestmark = pytest.mark.model
HEAD_DIR = DEMO_DIR / "draft_head"


@pytest.fixture(scope="module")
def demo_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    (file,) = quantize_folder("demo", ["F32"], tmp_path_factory.mktemp("demo"))
    return file.path


@pytest.fixture(scope="module")
def head_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("head")
    (file,) = quantize_folder(HEAD_DIR, ["F16"], folder, target=DEMO_DIR)
    return file.path


@pytest.fixture(scope="module")
def demo(demo_path: Path) -> Iterator[Model]:
    with Model.load(demo_path) as loaded_model:
        yield loaded_model


class HeadSession(Session):
    """A session in which each draft is as long as it may be: no step's cost is known."""

    def __init__(self, context: Context, head: HeadProposer, **config: int) -> None:
        super().__init__(context)
        self.runner = open_runner(context, RunnerParts(hidden_states=head.log))
        self.engine = Engine(self.runner, EngineConfig(**config), speculation=Speculation(head, draft_max=4))
        self.engine.step_cost.estimate = lambda n_tokens: None  # type: ignore[method-assign]

    @property
    def share(self) -> float:
        timings = [outcome.finish.timings for outcome in self.outcomes.values()]
        n_drafted = sum(each.draft_n for each in timings)
        assert n_drafted > 100
        return sum(each.draft_n_accepted for each in timings) / n_drafted


def head_of(context: Context, path: Path) -> HeadProposer:
    spec = spec_of(context.model.path, type_k="f32", type_v="f32", flash_attn="off")
    return open_head(spec, read_gguf_info(path), read_gguf_info(context.model.path), context)


def chat(model: Model, question: str) -> Ask:
    text = (
        "A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful "
        f"and polite answers to the questions of the user. USER: {question} ASSISTANT:"
    )
    return ask(
        model.vocab.tokenize(text, add_special=True, parse_special=False), max_tokens=64, ignore_eos=False
    )


QUESTIONS = (
    "Tell me a story about a dog.",
    "Tell me a story about a cat.",
    "Write a short story.",
    "What is the opposite of hot?",
    "Tell me a story about a king.",
    "What is the capital of France?",
)


def test_the_demo_models_own_head_is_mostly_right_and_changes_nothing(demo: Model, head_path: Path) -> None:
    """With neighbours, chunks, copies of slots and a prompt that is there already."""
    asks = [chat(demo, question) for question in QUESTIONS]
    asks += [
        replace(asks[1], n=3),
        asks[1],
        replace(asks[4], params={"temperature": 0.8, "seed": 3, "max_tokens": 40}),
    ]
    with f32_context(demo, n_seq_max=4) as context:
        expected = Session(context).answers(asks)
    with f32_context(demo, n_seq_max=4) as context:
        session = HeadSession(context, head_of(context, head_path), prefill_chunk_tokens=16)
        for got, wanted in zip(session.answers(asks, steps_between=3), expected, strict=True):
            assert got.tokens == wanted.tokens
        assert session.share > 0.7
        session.engine.check_integrity()


def test_more_sequences_than_are_read_at_once_guess_all_the_same(
    demo: Model, head_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(draft_head, "FEW_TOKENS", 2)
    asks = [chat(demo, question) for question in QUESTIONS]
    with f32_context(demo, n_seq_max=6) as context:
        expected = Session(context).answers(asks)
    with f32_context(demo, n_seq_max=6) as context:
        session = HeadSession(context, head_of(context, head_path))
        for got, wanted in zip(session.answers(asks), expected, strict=True):
            assert got.tokens == wanted.tokens
        assert session.share > 0.7


def test_a_head_that_rested_goes_on_with_what_came_since(demo: Model, head_path: Path) -> None:
    asked = chat(demo, QUESTIONS[0])
    with f32_context(demo) as context:
        expected = Session(context).tokens(asked)
    with f32_context(demo) as context:
        head = head_of(context, head_path)
        session = HeadSession(context, head)
        id_ = session.submit(asked)
        while not session.engine.stats.drafts_total:
            session.step()
        drafting, running = session.engine._speculation, session.engine._scheduler.running
        assert drafting is not None
        drafting.withdraw(running)
        head.rest(PAUSE_STEPS // 2)
        n_before = session.engine.stats.drafts_total
        session.run()
        assert list(session.outcomes[id_].tokens[0]) == expected
        assert session.engine.stats.drafts_total > n_before + 2


def test_preemption_changes_nothing(demo: Model, head_path: Path) -> None:
    asks = [chat(demo, question) for question in QUESTIONS]
    with f32_context(demo, n_seq_max=6) as context:
        expected = Session(context).answers(asks)
    with f32_context(demo, n_seq_max=6, n_cells=256, kv_unified=True) as context:
        session = HeadSession(context, head_of(context, head_path))
        for got, wanted in zip(session.answers(asks), expected, strict=True):
            assert got.tokens == wanted.tokens
        assert session.engine.stats.preemptions_total > 0


@pytest.mark.parametrize("n_draft", [None, 100])
def test_a_head_with_matrices_of_its_own(
    model: Model, pico_path: Path, tmp_path: Path, n_draft: int | None
) -> None:
    """It may guess some of the tokens only; that it is random costs steps, and no token."""
    tensors = head_tensors(model.vocab.n_tokens, own=True, n_draft=n_draft)
    path = write_head_gguf(tmp_path / "head.gguf", pico_path, tensors)
    asked = ask(random_prompt(1, 40, model.vocab.n_tokens), max_tokens=40)
    with f32_context(model) as context:
        expected = Session(context).tokens(asked)
    with f32_context(model) as context:
        session = HeadSession(context, head_of(context, path))
        assert session.tokens(asked) == expected


@pytest.mark.parametrize("quickest", [1, 2])
def test_it_computes_on_as_many_threads_as_are_quickest(
    model: Model, pico_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quickest: int
) -> None:
    """And a measurement that another program disturbs changes the times little."""
    now_s, n_threads, set_n_threads = 0.0, 0, Context.set_n_threads

    def clock_s() -> float:
        nonlocal now_s
        now_s += 1.0 if n_threads == quickest else 3.0
        return now_s

    def note_n_threads(context: Context, n: int, n_batch: int | None = None) -> None:
        nonlocal n_threads
        n_threads = n
        set_n_threads(context, n, n_batch)

    monkeypatch.setattr(Context, "set_n_threads", note_n_threads)
    path = write_head_gguf(tmp_path / "head.gguf", pico_path)
    with Context(model, n_ctx=256, n_threads=2) as context:
        opened = head_of(context, path)
        head = HeadProposer(opened._context, opened.log, projects=True, clock_s=clock_s)
        head.warm_up()
        assert n_threads == quickest
        assert (head.guess_s, head.start_s) == (1.0, 0.0)
        monkeypatch.setattr(draft_head, "WARM_UPS", 1)
        session = HeadSession(context, head)
        session.submit(ask([5, 6, 7], max_tokens=8))
        while not session.engine.stats.drafts_total:
            session.step()
        n_threads = 0
        session.step()
        assert 1.0 < head.guess_s < 2.0
        session.run()


@pytest.mark.parametrize("name", ["glm4-moe", "hy3"])
def test_a_further_layer_of_the_models_own(name: str, tmp_path: Path) -> None:
    path = write_family_gguf(name, tmp_path)
    spec = spec_of(path, type_k="f32", type_v="f32", flash_attn="off")
    with Model.load(path, load_further_layers=True) as model:
        asks = [ask(random_prompt(seed, 30, model.vocab.n_tokens), max_tokens=40) for seed in range(3)]
        with f32_context(model, n_seq_max=2) as context:
            expected = Session(context).answers(asks)
        with f32_context(model, n_seq_max=2) as context:
            session = HeadSession(context, open_own_head(spec, context))
            for got, wanted in zip(session.answers(asks), expected, strict=True):
                assert got.tokens == wanted.tokens
    with loaded(path) as served:
        assert served.speculation is not None


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"layers": [0, 1]}, "names no 3 layers"),
        ({"layers": [0, 1, -1]}, "names no 3 layers"),
        ({"n_layer": 2}, "a head has one layer"),
        ({"target_width": 0}, "target_hidden_size is 0"),
    ],
)
def test_a_header_that_llama_cpp_would_not_survive_is_refused(
    pico_path: Path, tmp_path: Path, change: dict[str, object], reason: str
) -> None:
    path = write_head_gguf(tmp_path / "head.gguf", pico_path, **change)  # type: ignore[arg-type]
    with pytest.raises(InvalidGGUF, match=reason):
        read_gguf_info(path)


def test_a_table_of_tokens_without_its_matrix_is_refused(pico_path: Path, tmp_path: Path) -> None:
    tensors = head_tensors(320, n_draft=100)
    del tensors["output.weight"]
    with pytest.raises(InvalidGGUF, match="of another number"):
        read_gguf_info(write_head_gguf(tmp_path / "head.gguf", pico_path, tensors))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"layers": [0, 1, 2]}, "a deeper model"),
        ({"target_width": 512}, "its model is 512 numbers wide"),
        ({"n_embedded": 100}, "its embeddings are of 100 tokens"),
        ({"table": [5] * 100}, "names tokens twice"),
        ({"table": range(450, 550)}, "aren't in the vocabulary"),
    ],
)
def test_a_head_of_another_model_is_refused(
    model: Model, pico_path: Path, tmp_path: Path, change: dict[str, object], reason: str
) -> None:
    tensors = head_tensors(model.vocab.n_tokens, n_draft=100)
    change = dict(change)
    n_embedded, table = change.pop("n_embedded", None), change.pop("table", None)
    tensors["token_embd.weight"] = tensors["token_embd.weight"][:n_embedded]
    if table is not None:
        tensors["d2t"][:] = list(table)  # type: ignore[call-overload]
    path = write_head_gguf(tmp_path / "head.gguf", pico_path, tensors, **change)  # type: ignore[arg-type]
    with f32_context(model) as context, pytest.raises(ModelLoadError, match=reason):
        head_of(context, path)


def test_a_head_is_served_beside_its_model_only(pico_path: Path, tmp_path: Path) -> None:
    path = write_head_gguf(tmp_path / "head.gguf", pico_path)
    with loaded(pico_path, draft_path=str(path)) as served:
        assert served.speculation is not None
    spec: ModelSpec = spec_of(path)
    with pytest.raises(ModelLoadError, match="serve its model with --draft"), loaded(Path(spec.path)):
        pass
