"""The model that a request names, in protocols where leaving it out or empty means the default."""

from __future__ import annotations

from service.engine.requests import ModelIdentity
from service.errors import NotFound
from service.sessions.service import Sessions


def model_named(sessions: Sessions, name: str | None) -> ModelIdentity:
    """The model of that name, the default one for None.

    Raises NotFound that names those there are, InvalidArgument for one that reads no text.
    """
    sessions.refuse_elsewhere(name)
    known = {model.name: model for model in sessions.models}
    if name is None:
        return sessions.models[0]
    if name not in known:
        raise NotFound("model", name, known)
    return known[name]
