"""The state of a stack of the real engine, secrets in clear: its age, what keeps its secrets, and how it is mended. JSON in, JSON out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from crowdstack.engine.deployments import CREATING, Deployment, closed, opened, pending, resources
from crowdstack.engine.plugin import Found, Plugin
from crowdstack.engine.urns import PROVIDER_TYPE
from crowdstack.engine.values import Properties, marked, plain
from crowdstack.errors import CrowdstackError, StateMismatch


def written_at(deployment: Deployment) -> str:
    """When this state was written; text that sorts by time."""
    told = str((deployment.get("manifest") or {}).get("time", ""))
    whole, _, rest = told.rstrip("Z").partition(".")
    return f"{whole}.{rest:0<9}"  # Go leaves out zeros at the end


def settings(deployment: Deployment) -> dict[str, str]:
    """How the stack keeps its secrets, as it stands in Pulumi.<stack>.yaml."""
    keeper = deployment.get("secrets_providers") or {}
    state = keeper.get("state") or {}
    if keeper.get("type") == "passphrase":
        return {"encryptionsalt": state["salt"]}
    if keeper.get("type") == "cloud":
        return {"secretsprovider": state["url"], "encryptedkey": state["encryptedkey"]}
    return {}


def keeper(settings: Mapping[str, str]) -> dict[str, Any]:
    """The other way round: of Pulumi.<stack>.yaml, as it stands in a state."""
    if "encryptionsalt" in settings:
        return {"type": "passphrase", "state": {"salt": settings["encryptionsalt"]}}
    return {
        "type": "cloud",
        "state": {"url": settings["secretsprovider"], "encryptedkey": settings["encryptedkey"]},
    }


# ---------------------------------------------------------------------------------------------------- what was cut off


@dataclass(frozen=True, kw_only=True)
class Settled:
    """A deployment without pending operations, and the URNs of those creates that are in it now."""

    deployment: dict[str, Any]
    taken_up: tuple[str, ...]


def settle(deployment: Deployment, plugin: Plugin, *, keep: bool) -> Settled:
    """Look up every create that was cut off and take it into the state; `keep` is false when all is to be deleted anyway.

    The plugin's creates are idempotent by URN: called again, they find what was begun and complete it. One that cannot
    be completed is undone. Updates and deletes that were cut off need nothing: a refresh tells how they ended.
    """
    here, taken_up = resources(deployment), []
    for operation in pending(deployment):
        begun = operation["resource"]
        if operation["type"] != CREATING or begun["type"].startswith(PROVIDER_TYPE):
            continue
        _check_ours(plugin, begun)
        if keep and (made := _completed(plugin, begun)) is not None:
            here = list(_taken_up(here, made))
            taken_up.append(begun["urn"])
        else:
            there = Found(id=str(begun.get("id", "")), inputs=_inputs(begun), outputs={})
            plugin.type(begun["type"]).delete(there)
    return Settled(deployment={**deployment, "resources": here, "pending_operations": []}, taken_up=tuple(taken_up))


def _check_ours(plugin: Plugin, begun: Mapping[str, Any]) -> None:
    if begun["type"].partition(":")[0] == plugin.package:
        return
    raise StateMismatch(
        "making a resource was cut off, and only its cloud knows whether it is there",
        where=begun["urn"],
        hint="look for it there; then `pulumi refresh` asks what to do with it",
    )


def _completed(plugin: Plugin, begun: Mapping[str, Any]) -> dict[str, Any] | None:
    """The resource as it is once its create was called again; None when it cannot be made."""
    kind = plugin.type(begun["type"])
    try:
        made = kind.create(begun["urn"], _inputs(begun), preview=False)
    except CrowdstackError:  # what is wrong is told when it is made again
        return None
    told = marked(made.outputs, like=opened(begun.get("inputs") or {}), secret=kind.secret_outputs)
    return {**begun, "id": made.id, "outputs": closed(told)}


def _inputs(begun: Mapping[str, Any]) -> Properties:
    found: Properties = plain(opened(begun.get("inputs") or {}))
    return found


def _taken_up(here: Iterable[Mapping[str, Any]], made: dict[str, Any]) -> Iterable[Mapping[str, Any]]:
    """The resources with this one among them: in the place of the one that was deleted for it, else behind the others,
    one of its name being what it replaces."""
    placed = False
    for other in here:
        if other["urn"] != made["urn"] or other.get("delete"):
            yield other
        elif other.get("pendingReplacement"):
            placed = True
            yield made
        else:
            yield {**other, "delete": True}
    if not placed:
        yield made
