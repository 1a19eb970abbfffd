from __future__ import annotations

import pytest

from models.errors import HubError, ModelNotFound
from models.gguf.projector import is_projector_name
from models.hub.files import Choice, RemoteFile, choose, gguf_type

SMALL = ["config.json", "tokenizer.json", "tokenizer.model", "README.md", "generation_config.json"]


def chosen(names: list[str], type_: str | None = None, *include: str) -> Choice:
    files = [RemoteFile(name, 1, sha256="a" * 64, blob_id=None) for name in names]
    return choose("org/name", files, type_, include)


def weights(choice: Choice) -> list[str]:
    """The files of the model itself, without its projector."""
    names = [file.path for file in choice.files if file.path.endswith((".safetensors", ".bin", ".gguf"))]
    return [name for name in names if not is_projector_name(name)]


def projectors(choice: Choice) -> list[str]:
    return [file.path for file in choice.files if is_projector_name(file.path)]


def test_safetensors_before_bin() -> None:
    choice = chosen(
        [
            *SMALL,
            "model.safetensors",
            "pytorch_model.bin",
            "flax_model.msgpack",
            "tf_model.h5",
            "original/consolidated.00.pth",
            "consolidated.safetensors",
            "onnx/model.onnx",
            "training_args.bin",
            "pytorch_model.bin.index.json",
            "sub/config.json",
            ".gitattributes",
            "chat_template.jinja",
            "additional_chat_templates/tool_use.jinja",
            "modules.json",
            "1_Pooling/config.json",
            "1_Pooling/README.md",
            "2_../config.json",
            "2_Dense/config.json",
            "2_Dense/model.safetensors",
            "2_Dense/pytorch_model.bin",
            "onnx/model.safetensors",
        ]
    )
    assert choice.kind == "checkpoint"
    assert {file.path for file in choice.files} == {
        *SMALL,
        "model.safetensors",
        "chat_template.jinja",
        "additional_chat_templates/tool_use.jinja",
        "modules.json",
        "1_Pooling/config.json",
        "2_Dense/config.json",
        "2_Dense/model.safetensors",
    }
    assert choice.files[-1].path == "model.safetensors"


def test_shards_with_their_index() -> None:
    shards = [f"model-0000{i}-of-00003.safetensors" for i in (1, 2, 3)]
    choice = chosen([*SMALL, *shards, "model.safetensors.index.json", "pytorch_model.bin.index.json"])
    assert weights(choice) == shards
    assert "model.safetensors.index.json" in {file.path for file in choice.files}
    assert "pytorch_model.bin.index.json" not in {file.path for file in choice.files}
    with pytest.raises(HubError, match="lacks model-00002-of-00003"):
        chosen([*SMALL, shards[0], shards[2]])


def test_a_stale_index_and_stale_shards_stay_where_they_are() -> None:
    shards = [f"model-0000{i}-of-00003.safetensors" for i in (1, 2, 3)]
    index = "model.safetensors.index.json"
    whole = chosen([*SMALL, "model.safetensors", index, *shards[:2]])
    assert weights(whole) == ["model.safetensors"]
    assert index not in {file.path for file in whole.files}
    newer = chosen([*SMALL, index, *shards, "model-00001-of-00002.safetensors", "sub/" + index])
    assert weights(newer) == shards
    assert [file.path for file in newer.files if file.path.endswith(index)] == [index]
    assert weights(chosen([*SMALL, index, "pytorch_model.bin"])) == ["pytorch_model.bin"]
    assert weights(chosen(["model.fp16.safetensors", "pytorch_model.bin"])) == ["pytorch_model.bin"]


def test_an_index_of_files_of_other_names() -> None:
    names = ["one.safetensors", "two.safetensors", "model.safetensors.index.json"]
    choice = chosen([*names, "config.json", "consolidated.safetensors"])
    assert weights(choice) == names[:2]
    assert names[2] in {file.path for file in choice.files}


def test_bin_when_there_is_nothing_else() -> None:
    assert weights(chosen([*SMALL, "pytorch_model.bin", "optimizer.bin"])) == ["pytorch_model.bin"]
    shards = ["pytorch_model-00001-of-00002.bin", "pytorch_model-00002-of-00002.bin"]
    assert weights(chosen([*SMALL, *shards, "training_args.bin"])) == shards


def test_unusual_safetensors() -> None:
    assert weights(chosen(["weights.safetensors", "consolidated.safetensors"])) == ["weights.safetensors"]
    assert weights(chosen(["consolidated.safetensors"])) == ["consolidated.safetensors"]


def test_no_weights() -> None:
    with pytest.raises(
        ModelNotFound, match=r"no safetensors, \.bin or GGUF weights \(it has: \.json \.onnx\)"
    ):
        chosen(["config.json", "onnx/model.onnx"])
    with pytest.raises(ModelNotFound, match="nothing"):
        chosen([])


GGUFS = [
    "README.md",
    "m-Q4_K_M.gguf",
    "m-Q4_K_M_L.gguf",
    "m-Q8_0.gguf",
    "m-IQ4_XS.gguf",
    "m-BF16.gguf",
    "m-f16.gguf",
]


@pytest.mark.parametrize(
    ("type_", "name"),
    [
        ("Q4_K_M", "m-Q4_K_M.gguf"),
        ("Q8_0", "m-Q8_0.gguf"),
        ("IQ4_XS", "m-IQ4_XS.gguf"),
        ("F16", "m-f16.gguf"),
        ("BF16", "m-BF16.gguf"),
        (None, "m-Q4_K_M.gguf"),
    ],
)
def test_gguf_by_type(type_: str | None, name: str) -> None:
    choice = chosen(GGUFS, type_)
    assert (choice.kind, weights(choice), choice.type) == ("gguf", [name], type_ or "Q4_K_M")
    assert "README.md" in {file.path for file in choice.files}


def test_gguf_types_that_are_not_there() -> None:
    with pytest.raises(ModelNotFound, match=r"no GGUF of type Q5_K_M; choose one of BF16 F16 IQ4_XS Q4_K_M"):
        chosen(GGUFS, "Q5_K_M")
    with pytest.raises(ModelNotFound, match="several GGUFs and none is Q4_K_M; choose one of Q5_0 Q8_0"):
        chosen(["a-Q8_0.gguf", "a-Q5_0.gguf"])
    with pytest.raises(ModelNotFound, match=r"--include: 13b-Q8_0\.gguf 7b-Q8_0\.gguf"):
        chosen(["13b-Q8_0.gguf", "7b-Q8_0.gguf"], "Q8_0")


def test_gguf_without_a_type_in_its_name() -> None:
    choice = chosen(["model.gguf", "mmproj-model-f16.gguf"])
    assert (weights(choice), choice.type) == (["model.gguf"], None)


@pytest.mark.parametrize(
    "projector",
    [
        "m.mmproj-Q8_0.gguf",
        "m-MMPROJ-Q8_0.gguf",
        "mmproj/m-Q8_0.gguf",
        "Q8_0/mmproj-m-Q8_0.gguf",
        "m-Q8_0-mmproj.gguf",
        "m.mm-proj.Q8_0.gguf",
        "a-mmproj-Q8_0-00001-of-00002.gguf",
        "imatrix.Q8_0.gguf",
    ],
)
@pytest.mark.parametrize("type_", [None, "Q8_0"])
def test_a_projector_is_no_model(projector: str, type_: str | None) -> None:
    choice = chosen([projector, "m-Q8_0.gguf"], type_)
    assert (weights(choice), choice.type) == (["m-Q8_0.gguf"], "Q8_0")


@pytest.mark.parametrize(
    ("names", "projector"),
    [
        (["m-Q8_0.gguf", "mmproj-F32.gguf", "mmproj-F16.gguf", "mmproj-BF16.gguf"], "mmproj-F16.gguf"),
        (["m-Q8_0.gguf", "mmproj-m-Q8_0.gguf", "mmproj-m-f16.gguf"], "mmproj-m-f16.gguf"),
        (["m-4b-Q8_0.gguf", "mmproj-m-12b-F16.gguf", "mmproj-m-4b-Q8_0.gguf"], "mmproj-m-4b-Q8_0.gguf"),
        (["Q8_0/m-Q8_0-00001-of-00001.gguf", "mmproj-model-f16.gguf"], "mmproj-model-f16.gguf"),
        (["a/m-Q8_0.gguf", "b/mmproj-F16.gguf"], None),
        (["m-Q8_0.gguf", "mmproj-m-F16-00001-of-00002.gguf"], None),
        (["m-Q8_0.gguf", "mmproj-config.json"], None),
        (["m-Q8_0.gguf"], None),
    ],
)
def test_the_fitting_projector_comes_along(names: list[str], projector: str | None) -> None:
    assert projectors(chosen(names, "Q8_0")) == ([] if projector is None else [projector])


def test_a_repository_with_nothing_but_a_projector() -> None:
    for type_ in (None, "F16"):
        with pytest.raises(ModelNotFound, match=r"projector \(mmproj\)"):
            chosen(["m-mmproj-F16.gguf", "README.md"], type_)


def test_split_gguf() -> None:
    parts = [f"Q8_0/m-Q8_0-0000{i}-of-00002.gguf" for i in (1, 2)]
    choice = chosen([*parts, "m-Q4_K_M.gguf"], "Q8_0")
    assert (weights(choice), choice.type) == (parts, "Q8_0")
    with pytest.raises(HubError, match="lacks Q8_0/m-Q8_0-00002"):
        chosen([parts[0]], "Q8_0")


def test_the_plain_variant_is_meant() -> None:
    assert weights(chosen(["m-UD-Q4_K_M.gguf", "m-Q4_K_M.gguf"], "Q4_K_M")) == ["m-Q4_K_M.gguf"]
    assert weights(chosen(["m-UD-Q4_K_M.gguf", "m-Q8_0.gguf"], "Q4_K_M")) == ["m-UD-Q4_K_M.gguf"]


def test_weights_and_gguf_together() -> None:
    both = [*SMALL, "model.safetensors", "m-Q4_K_M.gguf"]
    assert weights(chosen(both)) == ["model.safetensors"]
    assert weights(chosen(both, "Q4_K_M")) == ["m-Q4_K_M.gguf"]
    assert weights(chosen(both, "Q8_0")) == ["model.safetensors"]


def test_include_overrides() -> None:
    both = [*SMALL, "model.safetensors", "m-Q4_K_M.gguf", "m-Q8_0.gguf"]
    choice = chosen(both, None, "*Q8_0*")
    assert (choice.kind, choice.type, [f.path for f in choice.files]) == ("gguf", "Q8_0", ["m-Q8_0.gguf"])
    assert [f.path for f in chosen(both, None, "config.*", "*.safetensors").files] == [
        "config.json",
        "model.safetensors",
    ]
    with pytest.raises(ModelNotFound, match=r"no file of org/name matches \*\.xyz; it has README"):
        chosen(both, None, "*.xyz")


@pytest.mark.parametrize(
    "name", ["../x.safetensors", "/etc/x.json", "a//b.json", "a\\b.json", "", "a/../../b.json"]
)
def test_names_that_would_leave_the_cache(name: str) -> None:
    with pytest.raises(HubError, match="unusable name"):
        chosen(["model.safetensors", name])


@pytest.mark.parametrize(
    ("path", "type_"),
    [
        ("llama-7b.Q4_K_M.gguf", "Q4_K_M"),
        ("llama-7b.q4_k_m.gguf", "Q4_K_M"),
        ("m_Q5_0.gguf", "Q5_0"),
        ("m-Q4_K_M-imat.gguf", "Q4_K_M"),
        ("m-Q4_0_4_4.gguf", "Q4_0_4_4"),
        ("m-fp16.gguf", "F16"),
        ("m-mxfp4.gguf", "MXFP4"),
        ("m-NVFP4.gguf", "NVFP4"),
        ("Qwen2.5-7B-Instruct.gguf", None),
        ("Q6_K/part-00001-of-00002.gguf", "Q6_K"),
        ("IQ2_XXS/m-UD-Q4_K_XL-00001-of-00002.gguf", "Q4_K_XL"),
    ],
)
def test_type_in_a_name(path: str, type_: str | None) -> None:
    assert gguf_type(path) == type_
