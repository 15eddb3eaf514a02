"""URNs and earlier names: what a resource may have been called, by its own aliases and by its parents'."""

from __future__ import annotations

import pytest

from crowdstack.engine.embedded.names import Alias, Names, below
from crowdstack.engine.urns import STACK_TYPE

NAMES = Names("paint", "shop")
STACK = NAMES.urn(STACK_TYPE, "paint-shop")
BOX = NAMES.urn("test:Box", "box", STACK)
THING = NAMES.urn("t:Thing", "box-thing", BOX)


def test_the_stack_is_no_part_of_the_chain_of_types() -> None:
    assert BOX == "urn:pulumi:shop::paint::test:Box::box"
    assert THING == "urn:pulumi:shop::paint::test:Box$t:Thing::box-thing"


@pytest.mark.parametrize(
    ("alias", "urn"),
    [
        (Alias(urn="urn:pulumi:a::b::c::d"), "urn:pulumi:a::b::c::d"),
        (Alias(name="old"), "urn:pulumi:shop::paint::test:Box$t:Thing::old"),
        (Alias(type="t:Other"), "urn:pulumi:shop::paint::test:Box$t:Other::box-thing"),
        (Alias(no_parent=True), "urn:pulumi:shop::paint::t:Thing::box-thing"),
        (Alias(parent=STACK), "urn:pulumi:shop::paint::t:Thing::box-thing"),
        (Alias(project="p", stack="s"), "urn:pulumi:s::p::test:Box$t:Thing::box-thing"),
    ],
)
def test_an_alias_states_only_what_was_different(alias: Alias, urn: str) -> None:
    assert NAMES.earlier(THING, BOX, [alias]) == (urn,)


def test_without_aliases_there_is_no_earlier_name() -> None:
    assert NAMES.earlier(THING, BOX, []) == ()
    assert NAMES.earlier(THING, BOX, [Alias()]) == (), "nor is today's name one"


def test_a_child_called_after_its_parent_was_called_after_the_parents_earlier_name() -> None:
    names = Names("paint", "shop")
    names.remember(BOX, [names.urn("test:Crate", "crate", STACK)])
    assert names.earlier(THING, BOX, []) == (
        "urn:pulumi:shop::paint::test:Crate$t:Thing::crate-thing",
        "urn:pulumi:shop::paint::test:Box$t:Thing::crate-thing",  # an interrupted run had renamed the parent alone
    )


def test_own_and_inherited_names_are_multiplied_out() -> None:
    names = Names("paint", "shop")
    names.remember(BOX, [names.urn("test:Crate", "crate", STACK)])
    found = names.earlier(THING, BOX, [Alias(type="t:Old", name="x")])
    assert set(found) == {
        "urn:pulumi:shop::paint::test:Box$t:Old::x",
        "urn:pulumi:shop::paint::test:Crate$t:Thing::crate-thing",
        "urn:pulumi:shop::paint::test:Box$t:Thing::crate-thing",
        "urn:pulumi:shop::paint::test:Crate$t:Old::x",
    }


def test_below_another_parent_the_chain_is_that_parents() -> None:
    assert below(NAMES.urn("test:Crate", "c", STACK), THING) == "urn:pulumi:shop::paint::test:Crate$t:Thing::box-thing"
    assert below(STACK, THING) == "urn:pulumi:shop::paint::t:Thing::box-thing"
