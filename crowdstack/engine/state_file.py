"""A stack's state as a file that moves: between engines, and to Pulumi's CLI and back. Bytes <-> deployment in clear.

Secrets in the file are in Pulumi's passphrase form. What is read is checked before anybody acts on it (threats E3).
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from crowdstack.engine import deployments
from crowdstack.engine.deployments import VERSION, Deployment, sealed, unsealed
from crowdstack.engine.passphrase import Passphrase, prepare_passphrase, read_passphrase
from crowdstack.engine.plugin import Plugin, check
from crowdstack.engine.urns import PROVIDER_TYPE
from crowdstack.engine.values import plain
from crowdstack.errors import CrowdstackError, StateMismatch

_DOWNLOAD = "pluginDownloadURL"


def write(deployment: Deployment, passphrase: Path) -> bytes:
    """For `pulumi stack import`, too. The passphrase is made when there is none."""
    keeper = Passphrase.new(prepare_passphrase(passphrase))
    told = sealed(deployment, keeper.seal)
    told["secrets_providers"] = {"type": "passphrase", "state": {"salt": keeper.salt}}
    return json.dumps({"version": VERSION, "deployment": told}, indent=2).encode()


def read(data: bytes, passphrase: Path, *, where: str) -> dict[str, Any]:
    """What `write` wrote, or `pulumi stack export` (with or without --show-secrets)."""
    try:
        document = json.loads(data)
        version, deployment = document["version"], document["deployment"]
        keeper = deployment.get("secrets_providers") or {}
        kind, salt = keeper.get("type", ""), (keeper.get("state") or {}).get("salt", "")
    except (ValueError, KeyError, TypeError, AttributeError) as fault:
        raise StateMismatch(
            "this is no exported state",
            where=where,
            why=f"{type(fault).__name__}: {fault}",
            hint="crowdstack state export",
        ) from fault
    if version != VERSION:
        raise StateMismatch(f"state of version {version}, this program knows {VERSION}", where=where)

    @cache
    def opener() -> Passphrase:
        if kind != "passphrase":
            raise StateMismatch(
                f"its secrets are kept by {kind or 'something'} that only Pulumi can ask",
                where=where,
                hint="pulumi stack export --show-secrets, and import that",
            )
        return Passphrase.of(read_passphrase(passphrase), salt, where=str(passphrase))

    return unsealed(deployment, lambda ciphertext: opener().open(ciphertext))


def check_importable(deployment: Deployment, plugin: Plugin, *, project: str, stack: str, where: str) -> None:
    """StateMismatch for a state that is another stack's, that would fetch a plugin, or that holds what we never write."""
    deployments.check_identity(deployment, project=project, stack=stack, where=where)
    everything = [*deployments.resources(deployment), *(found["resource"] for found in deployments.pending(deployment))]
    for resource in everything:
        if _holds_key(resource, _DOWNLOAD):
            raise StateMismatch(
                "this state names an address to fetch a plugin from",
                where=where,
                why=f"{resource['urn']} has {_DOWNLOAD}",
                hint="install the plugin yourself and take the address out",
            )
        if resource["type"].partition(":")[0] != plugin.package or not resource.get("custom"):
            continue
        try:
            kind = plugin.type(resource["type"])
        except CrowdstackError as fault:
            raise StateMismatch(fault.what, where=where) from fault
        if faults := check(kind, plain(deployments.opened(resource.get("inputs") or {}))):
            raise StateMismatch(f"{resource['urn']} has inputs that cannot be", where=where, why="; ".join(faults))


def check_served(deployment: Deployment, package: str, *, where: str) -> None:
    """StateMismatch for resources that the embedded engine does not serve."""
    for resource in deployments.resources(deployment):
        served = (package, f"{PROVIDER_TYPE}{package}")
        if resource.get("custom") and resource["type"].partition(":")[0] != package and resource["type"] not in served:
            raise StateMismatch(
                "the embedded engine cannot take this stack over",
                where=where,
                why=f"it does not serve {resource['type']}",
                hint="--engine pulumi",
            )


def _holds_key(value: Any, key: str) -> bool:
    if isinstance(value, dict):
        return bool(value.get(key)) or any(_holds_key(part, key) for part in value.values())
    return isinstance(value, list) and any(_holds_key(part, key) for part in value)
