"""`read_plan`: a `cluster.toml` as a `ClusterPlan`, and one deployment made of flags. Pure.

All that is wrong is an error that names the line, the key, and what is right.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError, model_validator

from models.errors import ConfigError, CorralError
from models.reference import ModelRef
from server.cluster.plan import ClusterPlan, PlannedAlias, PlannedDeployment
from server.config import ServerConfig
from server.presets.toml_lines import Path, line_of, path_text
from server.serve_options import SERVE_SETTINGS

MAX_REPLICAS = 10_000
_CONFIG = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, hide_input_in_errors=True)
_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,126}[A-Za-z0-9])?")
_ELSEWHERE = {
    "threads": "a replica has as many threads as cpus",
    "mmproj": "a projector that the store keeps with the model is used; leave it out",
    "chat_template_file": "the file is on one machine only; give its text as chat_template",
}
"""Settings of a served model that a deployment can't have, and what to do."""

S = TypeVar("S", bound=BaseModel)
Count = Annotated[int, Field(ge=1, le=MAX_REPLICAS)]


class ReplicasSection(BaseModel):
    """The key `replicas` of a deployment."""

    model_config = _CONFIG

    min: Count = 1
    max: Count | None = None
    ongoing: Annotated[float, Field(gt=0)] | None = None
    per_node: Count | None = None
    up_after_s: Annotated[float, Field(ge=0, le=86_400)] = 5.0
    down_after_s: Annotated[float, Field(ge=0, le=86_400)] = 60.0

    @model_validator(mode="after")
    def _in_order(self) -> ReplicasSection:
        if self.max is not None and self.max < self.min:
            raise ValueError(f"max is {self.max} and min {self.min}; max must not be less than min")
        return self


class DeploymentSection(BaseModel):
    """A table `deployments.NAME`."""

    model_config = _CONFIG

    model: Annotated[str, Field(min_length=1, max_length=4096)]
    replicas: ReplicasSection = ReplicasSection()
    cpus: Annotated[float, Field(gt=0, le=10_000)]
    gpus: Annotated[float, Field(ge=0, le=1_000)] = 0.0
    options: dict[str, JsonValue] = {}


class AliasSection(BaseModel):
    """A table `aliases.NAME`."""

    model_config = _CONFIG

    arms: Annotated[dict[str, Annotated[float, Field(gt=0, le=1e9)]], Field(min_length=1, max_length=100)]
    sticky: Literal["user", "request"] = "user"


def read_plan(text: str, file: str) -> ClusterPlan:
    """Return the plan of a file's text. Raises ConfigError.

    Its aliases may have arms that it doesn't deploy: what runs may have them.
    """
    return _Reader(text, file).plan()


def plan_of(model: str, name: str | None = None, **settings: Any) -> ClusterPlan:
    """Return the plan of one deployment; `settings` are those of its table. Raises ConfigError."""
    chosen = name or default_name(model)
    reader = _Reader("", "the command line")
    return ClusterPlan({chosen: reader.deployment(chosen, {"model": model, **settings})})


def default_name(model: str) -> str:
    """Return a deployment's name for a model's reference: `lmsys/vicuna:Q8_0` → `vicuna-Q8_0`."""
    last = model.rsplit("/", 1)[-1]
    return re.sub(r"[^A-Za-z0-9._-]+", "-", last).strip("-._") or "model"


class _Reader:
    """Reads one file."""

    def __init__(self, text: str, file: str) -> None:
        self._text = text
        self._file = file

    def plan(self) -> ClusterPlan:
        try:
            document = tomllib.loads(self._text)
        except tomllib.TOMLDecodeError as error:
            raise ConfigError(f"{self._file} is not valid TOML: {error}") from error
        for key in document:
            if key not in ("deployments", "aliases"):
                raise self._error(
                    (key,), f"is no part of a cluster{_nearest(key, ('deployments', 'aliases'))}"
                )
        deployments = {
            name: self.deployment(name, value) for name, value in self._table(document, "deployments").items()
        }
        aliases = {name: self._alias(name, value) for name, value in self._table(document, "aliases").items()}
        if not deployments and not aliases:
            raise ConfigError(f"{self._file} deploys nothing; it needs a table [deployments.NAME]")
        return ClusterPlan(deployments, aliases)

    def deployment(self, name: str, value: Any) -> PlannedDeployment:
        path: Path = ("deployments", name)
        self._check_name(path, name)
        section = self._read(DeploymentSection, path, value)
        return PlannedDeployment(
            name=name,
            model=self._model((*path, "model"), section.model),
            min_replicas=section.replicas.min,
            max_replicas=section.replicas.max or section.replicas.min,
            ongoing=section.replicas.ongoing,
            per_node=section.replicas.per_node,
            up_after_s=section.replicas.up_after_s,
            down_after_s=section.replicas.down_after_s,
            cpus=section.cpus,
            gpus=self._gpus((*path, "gpus"), section.gpus),
            options=self._options((*path, "options"), section.options),
        )

    def _alias(self, name: str, value: Any) -> PlannedAlias:
        path: Path = ("aliases", name)
        if not name.isprintable() or name != name.strip() or not 0 < len(name) <= 512:
            raise self._error(path, "is no name: at most 512 printable characters")
        section = self._read(AliasSection, path, value)
        return PlannedAlias(name=name, arms=section.arms, sticky=section.sticky == "user")

    def _table(self, document: Mapping[str, Any], key: str) -> Mapping[str, Any]:
        value = document.get(key, {})
        if not isinstance(value, dict):
            raise self._error((key,), f"must be tables: [{key}.NAME]")
        return value

    def _check_name(self, path: Path, name: str) -> None:
        if not _NAME.fullmatch(name):
            raise self._error(path, "is no name: letters, digits, and between them - _ and .")

    def _model(self, path: Path, text: str) -> str:
        """Return the reference with a type, as a replica must know which file it is."""
        try:
            ref = ModelRef.parse(text)
        except CorralError as error:
            raise self._error(path, error.message) from error
        if ref.type is None and not (ref.path is not None and ref.path.is_file()):
            ref = ref.with_type(ServerConfig.model_fields["default_type"].default)
        return str(ref)

    def _gpus(self, path: Path, gpus: float) -> float:
        if gpus > 1 and gpus != int(gpus):
            raise self._error(path, "must be a whole number, or a part of one GPU")
        return gpus

    def _options(self, path: Path, options: dict[str, Any]) -> dict[str, Any]:
        for name in options:
            if name in _ELSEWHERE:
                raise self._error((*path, name), f"is no setting of a deployment: {_ELSEWHERE[name]}")
            if name not in SERVE_SETTINGS:
                near = _nearest(name, SERVE_SETTINGS)
                raise self._error((*path, name), f"is no setting of a served model{near}")
        try:
            config = ServerConfig.model_validate(options)
        except ValidationError as error:
            raise self._invalid(path, error) from error
        if config.draft is not None:
            self._model((*path, "draft"), config.draft)
        return options

    def _read(self, kind: type[S], path: Path, value: Any) -> S:
        try:
            return kind.model_validate(value)
        except ValidationError as error:
            raise self._invalid(path, error) from error

    def _invalid(self, path: Path, error: ValidationError) -> ConfigError:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = tuple(part for part in first["loc"] if part != "[key]")
        message = first["msg"].removeprefix("Value error, ")
        if first["type"] == "extra_forbidden":
            message = f"is no setting here{_nearest(str(where[-1]), _KEYS)}"
        return self._error((*path, *where), message[:1].lower() + message[1:])

    def _error(self, path: Path, problem: str) -> ConfigError:
        line = line_of(self._text, path) if self._text else None
        where = self._file if line is None else f"{self._file}, line {line}"
        return ConfigError(f"{where}: {path_text(path)}: {problem}")


_KEYS = (*DeploymentSection.model_fields, *ReplicasSection.model_fields, *AliasSection.model_fields)


def _nearest(name: str, known: tuple[str, ...]) -> str:
    near = difflib.get_close_matches(name.lower().replace("-", "_"), known, n=1, cutoff=0.6)
    return f"; did you mean {near[0]}?" if near else f"; known are {', '.join(sorted(set(known)))}"
