"""`cluster.toml`: what is read, and each wrong thing with its line and its fix."""

from __future__ import annotations

from pathlib import Path

import pytest

from models.errors import ConfigError
from server.cluster.plan import PlannedAlias, PlannedDeployment
from server.cluster.plan_file import default_name, plan_of, read_plan

WHOLE = """
[deployments.vicuna-q8]
model = "lmsys/vicuna-7b-v1.5:8bit"
replicas = { min = 1, max = 4, ongoing = 6 }
cpus = 8; gpus = 0
options = { ctx = 4096, parallel = 4 }

[deployments.vicuna-q4]
model = "lmsys/vicuna-7b-v1.5"
cpus = 4

[aliases.vicuna]
arms = { "vicuna-q8" = 90, "vicuna-q4" = 10 }
sticky = "user"
""".replace("cpus = 8; gpus = 0", "cpus = 8\ngpus = 0")


def test_a_file() -> None:
    plan = read_plan(WHOLE, "cluster.toml")
    assert plan.deployments["vicuna-q8"] == PlannedDeployment(
        name="vicuna-q8",
        model="lmsys/vicuna-7b-v1.5:Q8_0",
        min_replicas=1,
        max_replicas=4,
        ongoing=6.0,
        cpus=8.0,
        options={"ctx": 4096, "parallel": 4},
    )
    small = plan.deployments["vicuna-q4"]
    assert (small.model, small.max_replicas) == ("lmsys/vicuna-7b-v1.5:Q4_K_M", 1)
    assert plan.aliases == {
        "vicuna": PlannedAlias(name="vicuna", arms={"vicuna-q8": 90.0, "vicuna-q4": 10.0})
    }


def test_a_file_of_a_model_has_no_type(tmp_path: Path) -> None:
    file = tmp_path / "a.gguf"
    file.write_bytes(b"GGUF")
    assert plan_of(str(file), cpus=1).deployments["a.gguf"].model == str(file)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[deployments", "is not valid TOML"),
        ("", "needs a table [deployments.NAME]"),
        ("deployments = 1", "line 1: deployments: must be tables: [deployments.NAME]"),
        (
            "[deployment.a]\nmodel = 'demo'",
            "line 1: deployment: is no part of a cluster; did you mean deployments?",
        ),
        ("[deployments.a]\nmodel = 'demo'", "line 1: deployments.a.cpus: field required"),
        (
            "[deployments.a]\nmodel = 'demo'\ncpus = 0",
            "line 3: deployments.a.cpus: input should be greater than 0",
        ),
        (
            "[deployments.a]\nmodel = 'demo'\ncpu = 1\ncpus = 1",
            "line 3: deployments.a.cpu: is no setting here; did you mean cpus?",
        ),
        (
            "[deployments.a]\nmodel = 'demo:Q9'\ncpus = 1",
            "line 2: deployments.a.model: 'Q9' is no quantization type",
        ),
        (
            "[deployments.a]\nmodel = './gone.gguf'\ncpus = 1",
            "line 2: deployments.a.model: there is no file or folder",
        ),
        (
            "[deployments.a]\nmodel = 'demo'\ncpus = 1\ngpus = 1.5",
            "deployments.a.gpus: must be a whole number",
        ),
        (
            "[deployments.a]\nmodel = 'demo'\ncpus = 1\nreplicas = { min = 3, max = 2 }",
            "line 4: deployments.a.replicas: max is 2 and min 3",
        ),
        (
            "[deployments.a]\nmodel = 'demo'\ncpus = 1\nreplicas.min = 0",
            "deployments.a.replicas.min: input should be",
        ),
        (
            "[deployments.a]\nmodel = 'demo'\ncpus = 1\n[deployments.a.options]\nctxx = 1",
            "line 5: deployments.a.options.ctxx: is no setting of a served model; did you mean ctx?",
        ),
        (
            "[deployments.a]\nmodel = 'demo'\ncpus = 1\n[deployments.a.options]\nctx = 0",
            "line 5: deployments.a.options.ctx: input should be greater than",
        ),
        (
            "[deployments.a]\nmodel = 'demo'\ncpus = 1\noptions = { threads = 4 }",
            "deployments.a.options.threads: is no setting of a deployment: a replica has as many threads as",
        ),
        ('[deployments."a b"]\nmodel = "demo"\ncpus = 1', 'deployments."a b": is no name'),
        ("[aliases.a]\narms = {}", "line 2: aliases.a.arms: dictionary should have at least 1 item"),
        ("[aliases.a]\narms = { b = 0 }", "line 2: aliases.a.arms.b: input should be greater than 0"),
        (
            "[aliases.a]\narms = { b = 1 }\nsticky = 'x'",
            "line 3: aliases.a.sticky: input should be 'user' or 'request'",
        ),
    ],
)
def test_what_is_wrong_is_told_with_its_line(text: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_plan(text, "c.toml")
    assert words in caught.value.message
    assert "c.toml" in caught.value.message


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("lmsys/vicuna-7b-v1.5:Q8_0", "vicuna-7b-v1.5-Q8_0"),
        ("demo", "demo"),
        ("/models/My file.gguf", "My-file.gguf"),
    ],
)
def test_a_deployments_name_is_the_models(model: str, name: str) -> None:
    assert default_name(model) == name


def test_flags_are_checked_as_a_file_is() -> None:
    plan = plan_of("demo:Q8_0", cpus=2.0, replicas={"min": 1, "max": 4})
    assert plan.deployments["demo-Q8_0"].max_replicas == 4
    with pytest.raises(ConfigError, match=r"the command line: deployments.demo.cpus"):
        plan_of("demo", cpus=-1.0)
