"""`read_presets`: the `presets` of a settings file as a `PresetTable`. Pure.

All that is wrong is an error that names the line, the key and, for a name that was misspelt, the right one.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from pydantic import TypeAdapter, ValidationError

from models.errors import ConfigError, RequestError
from server.chat.prompt_formats import canonical_name
from server.presets.check import check_layers
from server.presets.parameters import SETTABLE, STRIPPABLE, spellings
from server.presets.section import MAX_PRESETS, ArmSection, LayerSection, PresetSection
from server.presets.table import Layer, Preset, PresetTable, Target
from server.presets.toml_lines import Path, line_of, path_text

_FIELDS = (*PresetSection.model_fields, *ArmSection.model_fields)
_MAX_TARGETS = 1_000
_MAX_CHAIN = 32
"""So many presets may stand behind each other before a model does."""
_section = TypeAdapter(PresetSection)


def read_presets(section: Any, text: str, file: str) -> PresetTable:
    """Return the table of a file's section; `text` is the whole file. Raises ConfigError."""
    return _Reader(text, file).table(section)


class _Reader:
    """Reads one file."""

    def __init__(self, text: str, file: str) -> None:
        self._text = text
        self._file = file
        self._sections: dict[str, PresetSection] = {}
        self._good: set[tuple[str, bytes]] = set()
        """The parameters that are known to be right, with their values."""
        self._targets_of: dict[str, list[Target]] = {}
        """The targets of the presets that have been followed."""
        self._depths: dict[str, int] = {}
        """The most presets that stand behind each other from these on, themselves included."""

    def table(self, section: Any) -> PresetTable:
        if not isinstance(section, dict):
            raise self._error(("presets",), "must be a table of presets")
        if len(section) > MAX_PRESETS:
            raise self._error(("presets",), f"has {len(section):,} presets; the limit is {MAX_PRESETS:,}")
        for name, value in section.items():
            self._check_name(name)
            self._sections[name] = self._validated(name, value)
        presets = {name: self._preset(name) for name in self._sections}
        for name, preset in presets.items():
            for target in preset.targets:
                self._check_requests(name, target)
        return PresetTable(presets)

    # --- one preset ---

    def _check_name(self, name: str) -> None:
        if not name.isprintable() or name != name.strip() or not 0 < len(name) <= 512:
            raise self._error(("presets", name), "is no name: at most 512 printable characters")

    def _validated(self, name: str, value: Any) -> PresetSection:
        try:
            section = _section.validate_python(value)
        except ValidationError as error:
            raise self._invalid(("presets", name), value, error) from error
        self._check_layer(("presets", name), section)
        for i, arm in enumerate(section.arms or ()):
            self._check_layer(("presets", name, "arms", i), arm)
        return section

    def _check_layer(self, path: Path, section: LayerSection) -> None:
        for kind in ("force", "default"):
            for name in getattr(section, kind):
                if name not in SETTABLE:
                    raise self._error((*path, kind, name), f"is no parameter to set{_instead(name)}")
        for i, name in enumerate(section.strip):
            if name not in STRIPPABLE:
                near = _nearest(name, STRIPPABLE)
                raise self._error((*path, "strip", i), f"'{name}' can't be removed from requests{near}")
        self._check_once(path, section)
        if section.prompt_format is not None:
            try:
                canonical_name(section.prompt_format)
            except RequestError as error:
                raise self._error((*path, "prompt_format"), error.message) from error

    def _check_once(self, path: Path, section: LayerSection) -> None:
        """Let nothing be said twice of a parameter."""
        for name in section.force:
            for kind, others in (("default", section.default), ("strip", section.strip)):
                if name in others:
                    raise self._error((*path, "force", name), f"is in '{kind}' as well; leave it out there")
        for field in ("prompt_format", "keep_alive"):
            for kind in ("force", "default"):
                if getattr(section, field) is not None and field in getattr(section, kind):
                    raise self._error((*path, kind, field), f"is given as '{field}' of the preset, too")

    # --- targets ---

    def _preset(self, name: str) -> Preset:
        section = self._sections[name]
        return Preset(
            name=name,
            description=section.description,
            sticky=section.sticky,
            targets=tuple(self._targets(name, (name,))),
        )

    def _targets(self, name: str, chain: tuple[str, ...]) -> list[Target]:
        """Return the targets of a preset; `chain` has the presets on the way to it, itself the last."""
        if name not in self._targets_of:
            self._targets_of[name] = self._followed(name, chain)
            section = self._sections[name]
            behind = [arm.model for arm in section.arms] if section.arms else [section.model or ""]
            self._depths[name] = 1 + max(self._depths.get(model, 0) for model in behind)
        return self._targets_of[name]

    def _followed(self, name: str, chain: tuple[str, ...]) -> list[Target]:
        section, path = self._sections[name], ("presets", name)
        own = _layer(name, section)
        if section.arms is None:
            assert section.model is not None
            inner = self._behind(section.model, chain, (*path, "model"))
            return [_through(target, (own,), section) for target in inner]
        total = sum(arm.weight for arm in section.arms)
        found: list[Target] = []
        for i, arm in enumerate(section.arms):
            arm_name = arm.name or arm.model
            layers = (own, _layer(f"{name}/{arm_name}", arm))
            for target in self._behind(arm.model, chain, (*path, "arms", i, "model")):
                full = f"{arm_name}/{target.arm}" if target.arm else arm_name
                share = target.share * arm.weight / total
                found.append(_with(_through(target, layers, section, arm), arm=full, share=share))
            if len(found) > _MAX_TARGETS:
                raise self._error(path, f"comes to more than {_MAX_TARGETS:,} arms, which is the limit")
        return found

    def _behind(self, model: str, chain: tuple[str, ...], path: Path) -> list[Target]:
        """Return the targets of a model's name, which may be another preset's."""
        if model in chain:
            if model == chain[-1]:
                problem = (
                    "a preset can't be served by itself; name the model with its type, such as NAME:Q4_K_M"
                )
            else:
                problem = "presets name each other in a circle: " + " → ".join([*chain, model])
            raise self._error(path, problem)
        if model in self._sections:
            if len(chain) + self._depths.get(model, 1) > _MAX_CHAIN:
                raise self._error(
                    path,
                    f"is more than {_MAX_CHAIN} presets away from a model; name a nearer one",
                )
            return self._targets(model, (*chain, model))
        return [Target(arm="", share=1.0, model=model, place=self._place(path))]

    def _check_requests(self, name: str, target: Target) -> None:
        """Let the protocols' own schemas check all that the target's layers set, one by one and together."""
        for layer in target.layers:
            for kind, values in (("force", layer.force), ("default", layer.default)):
                for parameter, value in values.items():
                    known = (parameter, msgspec.json.encode(value))
                    if known in self._good:
                        continue
                    self._good.add(known)
                    alone = Layer(name=layer.name, force={parameter: value})
                    if (problem := check_layers([alone])) is not None and self._is_own(problem, parameter):
                        raise self._error(self._key(layer.name, kind, parameter), problem.message)
        if (problem := check_layers(target.layers)) is not None:
            is_stripped = any(problem.param in layer.strip for layer in target.layers)
            fix = "; it is stripped: give a default for it, or leave it in" if is_stripped else ""
            raise self._error(("presets", name), problem.message + fix)

    def _is_own(self, problem: RequestError, parameter: str) -> bool:
        """True where a parameter is wrong by itself, and not for the lack of another one."""
        param = (problem.param or "").partition(".")[0].partition("[")[0]
        return param in {path.partition(".")[0] for path in (parameter, *spellings(parameter))}

    def _key(self, layer: str, kind: str, parameter: str) -> Path:
        """Return the path of a parameter in the file."""
        for name, section in self._sections.items():
            paths: list[tuple[str, LayerSection, Path]] = [(name, section, ("presets", name))]
            for i, arm in enumerate(section.arms or ()):
                paths.append((f"{name}/{arm.name or arm.model}", arm, ("presets", name, "arms", i)))
            for found, part, path in paths:
                if found == layer:
                    outer, _, inner = parameter.partition(".")
                    given = getattr(part, kind)
                    if outer not in given:  # it is a key of the preset itself
                        return (*path, outer)
                    return (*path, kind, outer, inner) if inner else (*path, kind, outer)
        raise AssertionError(layer)

    # --- errors ---

    def _invalid(self, path: Path, value: Any, error: ValidationError) -> ConfigError:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        path = (
            *path,
            *_within(value, first["loc"]),
            *(first["loc"][-1:] if first["type"] == "missing" else ()),
        )
        if first["type"] == "extra_forbidden":
            return self._error(path, f"is no setting of a preset{_nearest(str(path[-1]), _FIELDS)}")
        message = first["msg"].removeprefix("Value error, ")
        return self._error(path, message[:1].lower() + message[1:])

    def _error(self, path: Path, problem: str) -> ConfigError:
        return ConfigError(f"{self._place(path)}: {problem}")

    def _place(self, path: Path) -> str:
        line = line_of(self._text, path)
        where = self._file if line is None else f"{self._file}, line {line}"
        return f"{where}: {path_text(path)}"


def _within(value: Any, location: Path) -> Path:
    """Return the part of pydantic's location that is in the value; it has the names of types, too."""
    path: list[str | int] = []
    for part in location:
        inside = value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
        if part in inside:
            path.append(part)
            value = value[part]
    return path


def _layer(name: str, section: LayerSection) -> Layer:
    """Return what a section makes of requests, with the keys that stand for parameters."""
    force, default = _flat(section.force), _flat(section.default)
    if section.prompt_format is not None:
        force["prompt_format"] = section.prompt_format
    if section.keep_alive is not None:
        default["keep_alive"] = section.keep_alive
    return Layer(
        name=name,
        force=force,
        default=default,
        strip=tuple(section.strip),
        system=section.system,
        system_mode=section.system_mode,
    )


def _flat(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters with each of the template's arguments as one of its own."""
    flat: dict[str, Any] = {}
    for name, value in parameters.items():
        if name == "chat_template_kwargs" and isinstance(value, dict):
            flat.update({f"{name}.{key}": inner for key, inner in value.items()})
        else:
            flat[name] = value
    return flat


def _through(target: Target, layers: tuple[Layer, ...], *sections: LayerSection) -> Target:
    """Return a target with the layers before its own; its own adapters are stronger."""
    adapters = target.adapters
    for section in reversed(sections):
        adapters = adapters or section.adapters or {}
    return _with(
        target,
        layers=(*(layer for layer in layers if not layer.is_empty), *target.layers),
        adapters=adapters,
    )


def _with(target: Target, **changes: Any) -> Target:
    return msgspec.structs.replace(target, **changes)


def _instead(name: str) -> str:
    """Return words on what to write in place of a name that isn't a parameter to set."""
    if name == "lora":
        return "; write 'adapters', with names and scales"
    if name in {"max_completion_tokens", "max_output_tokens", "n_predict"}:
        return "; write max_tokens, which stands for all of its names"
    return _nearest(name, SETTABLE)


def _nearest(name: str, known: Iterable[str]) -> str:
    names = sorted(set(known))
    near = difflib.get_close_matches(name.lower().replace("-", "_"), names, n=1, cutoff=0.6)
    return f"; did you mean {near[0]}?" if near else f"; known are {', '.join(names)}"
