"""`ServedNames`: the names of a cluster's models in requests, and what is known of each. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from models.errors import ModelNotFound
from server.cluster.deployments import Deployment
from server.supervisor.protocol import ModelState, ModelStatus


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A model of a deployment. `name_there` is its replicas' own name for it, empty for their main one."""

    deployment: Deployment
    status: ModelStatus
    name_there: str


class ServedNames:
    """Made anew whenever the cluster tells something new.

    A deployment's model is found by the deployment's name, by the model's, and by that with its type; where
    several have a name, the first deployment does.
    """

    def __init__(self, deployments: Sequence[Deployment], told: dict[str, list[ModelStatus]]) -> None:
        """`told`: by deployment, what its replicas have said of the names that they serve."""
        self._models: list[ServedModel] = []
        self._by_name: dict[str, ServedModel] = {}
        for deployment in deployments:
            statuses = told.get(deployment.name) or [_unloaded(deployment)]
            for number, status in enumerate(statuses):
                self._add(deployment, status, is_main=number == 0)

    def models(self) -> list[ModelStatus]:
        """Return each model once, under a name that is found."""
        return [model.status for model in self._models]

    def find(self, name: str) -> ServedModel:
        """Return the model by a name. Raises ModelNotFound."""
        model = self._by_name.get(name)
        if model is None:
            known = ", ".join(model.status.name for model in self._models[:20]) or "nothing"
            raise ModelNotFound(f"the cluster serves no model '{name}'; it serves {known}")
        return model

    def _add(self, deployment: Deployment, status: ModelStatus, *, is_main: bool) -> None:
        typed = f"{status.name}:{status.type}" if status.type else status.name
        names = [status.name, typed, *([deployment.model, deployment.name] if is_main else [])]
        free = [name for name in names if name not in self._by_name]
        if not free:
            return
        state, problem = _state(deployment), deployment.problem
        shown = msgspec.structs.replace(
            status, name=free[0], state=state, problem=problem, served=True, progress=None
        )
        model = ServedModel(deployment, shown, "" if is_main else status.name)
        self._models.append(model)
        self._by_name.update(dict.fromkeys(free, model))


def _unloaded(deployment: Deployment) -> ModelStatus:
    """Return the status of a model of which no replica has told yet."""
    return ModelStatus(name=deployment.model, state="loading", created=0)


def _state(deployment: Deployment) -> ModelState:
    if deployment.n_replicas:
        return "ready"
    return "failed" if deployment.state == "failed" else "loading"
