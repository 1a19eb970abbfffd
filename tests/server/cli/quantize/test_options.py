from __future__ import annotations

from pathlib import Path

import pytest

from models.errors import ConfigError
from server.cli.quantize.options import RunFlags, TypeFlags


def test_sizes_are_read_and_a_flag_that_is_missing_sets_no_limit() -> None:
    options = RunFlags(threads=3, memory="2GiB", stream=True).run_options()
    assert (options.threads, options.memory_bytes, options.split_bytes, options.stream) == (
        3,
        2**31,
        None,
        True,
    )


def test_what_is_no_size_is_refused() -> None:
    with pytest.raises(ConfigError, match="lots"):
        RunFlags(split_size="lots").run_options()


def test_every_flag_reaches_the_choice_of_types() -> None:
    flags = TypeFlags(Path("i"), "m.gguf", "2GB", 4.5, True, 99, "q8_0", "q4_0", Path("r"), Path("t"), 7)
    options = flags.type_options(Path("out"), 3)
    assert {name: getattr(options, name) for name in TypeFlags.__dataclass_fields__} == {
        name: getattr(flags, name) for name in TypeFlags.__dataclass_fields__
    }
    assert (options.out, options.threads) == (Path("out"), 3)
