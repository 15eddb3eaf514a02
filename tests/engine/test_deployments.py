"""A state in Pulumi's form: secrets in clear and sealed, whose state it is."""

from __future__ import annotations

import json
from typing import Any

import pytest

from crowdstack.engine.deployments import check_identity, closed, opened, sealed, unsealed
from crowdstack.engine.values import SECRET, SIGNATURE, SecretValue
from crowdstack.errors import StateMismatch

VALUES = {"open": 1, "deep": {"in": [SecretValue({"word": "hush", "more": SecretValue("more")}), None]}}


def seal(text: str) -> str:
    return text.encode().hex()


def unseal(text: str) -> str:
    return bytes.fromhex(text).decode()


def test_what_is_sealed_is_opened_again_and_hides_its_secrets() -> None:
    hidden = sealed(closed(VALUES), seal)
    assert "hush" not in json.dumps(hidden)
    assert opened(unsealed(hidden, unseal)) == VALUES


def test_a_secret_that_is_sealed_inside_another_is_opened_too() -> None:
    inner = {SIGNATURE: SECRET, "ciphertext": seal('"more"')}
    outer: dict[str, Any] = {"a": {SIGNATURE: SECRET, "ciphertext": seal(json.dumps([inner]))}}
    assert opened(unsealed(outer, unseal)) == {"a": SecretValue([SecretValue("more")])}


@pytest.mark.parametrize("urn", ["urn:pulumi:shop::other::t::n", "urn:pulumi:shop::paint::no-name", ""])
def test_a_resource_of_another_stack_and_one_without_a_name_are_refused(urn: str) -> None:
    deployment = {"resources": [{"urn": "urn:pulumi:shop::paint::t::n"}, {"urn": urn}]}
    with pytest.raises(StateMismatch, match="another stack"):
        check_identity(deployment, project="paint", stack="shop", where="state.json")
