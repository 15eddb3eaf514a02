"""Panels: a spec whose people come from elsewhere (prolific, generic) -> what does not go together in it, and what to know.

Called by `check` for the faults and by `deploy` for the notes of a preview.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from math import ceil, isqrt
from typing import Any

from jsonschema import Draft202012Validator
from referencing import Registry

from crowdstack.errors import Refused
from crowdstack.plugin import find_plugin, installed
from crowdstack.spec.load import Located
from crowdstack.spec.models import LocalArchitect, Spec
from crowdstack.spec.providers import (
    CompositeFilter,
    Ending,
    GenericProvider,
    PluginProvider,
    ProlificProvider,
    RangeFilter,
    SelectFilter,
)
from crowdstack.spec.text import nearest, shown

Filter = SelectFilter | RangeFilter | CompositeFilter
Path = tuple[str | int, ...]

CURRENCIES = ("GBP", "USD")  # of Prolific's workspaces
TAGS = ("b", "i", "em", "strong", "s", "u", "h1", "h2", "ol", "ul", "li", "p")  # others are cut out of a description
_GROUPS = {"participant_group_allowlist": "allow_groups", "participant_group_blocklist": "block_groups"}
_LEGACY = {
    "AgeRange": ("min_age", "max_age"),
    "ApprovalNumbers": ("minimum_approvals", "maximum_approvals"),
    "ApprovalRate": ("minimum_approval_rate", "maximum_approval_rate"),
    "JoinedBefore": ("joined_before",),
    "CustomWhitelist": ("white_list",),
    "CustomBlacklist": ("black_list",),
    "ParticipantGroup": ("id",),
}
_OWN_PARAMETERS = ("t", "preview", "review")  # of the page's address
_ESTIMATE = "like estimated_time: 30s (for one unit)"
_FILLED = ("worker", "visit")  # what an ending's address may hold in braces


def least_minutes(minutes: int) -> int:
    """The shortest `maximum_allowed_time` for a visit of `minutes`: 2 + 2 x minutes + 2 x its root, rounded up."""
    return 2 + 2 * minutes + (isqrt(4 * minutes - 1) + 1 if minutes else 0)


def faults_of_panel(spec: Spec) -> Iterator[Located]:
    provider = spec.provider
    if isinstance(provider, ProlificProvider | GenericProvider | PluginProvider):
        yield from _faults_of_pay(spec, provider.type)
    if isinstance(provider, ProlificProvider):
        yield from _faults_of_prolific(spec, provider)
    if isinstance(provider, GenericProvider):
        yield from _faults_of_generic(spec, provider)
    if isinstance(provider, PluginProvider):
        yield from _faults_of_plugin(spec, provider)


def _missing(spec: Spec, path: Path, why: str, hint: str) -> Located:
    """A field that such a crowd needs: not there, or empty."""
    written = spec.document.find(path) is not spec.document.find(path[:-1])
    message = f'"{path[-1]}" is {"empty" if written else "missing"}: {why}'
    return spec.document.problem(path if written else path[:-1], message, hint)


def _faults_of_pay(spec: Spec, crowd: str) -> Iterator[Located]:
    task, say, at = spec.task, spec.document.problem, spec.document.at("provider", "type")
    if task.units_per_visit == "unlimited":
        yield say(
            ("task", "units_per_visit"),
            f"a visit of {crowd}{at} is paid its reward once, so its length must be known",
            "write a number, like units_per_visit: 20",
        )
    if "reward" not in task.model_fields_set:
        yield _missing(spec, ("task", "reward"), f"people of {crowd}{at} are paid", "like reward: 0.50 GBP")
    elif not task.reward.minor:
        yield say(("task", "reward"), f"{task.reward} is no pay, and people of {crowd}{at} are paid", "raise it")


# ------------------------------------------------------------------------------------------------ prolific


def _faults_of_prolific(spec: Spec, provider: ProlificProvider) -> Iterator[Located]:
    task, say, at = spec.task, spec.document.problem, spec.document.at
    here = at("provider", "type")
    if task.reward.minor and task.reward.currency not in CURRENCIES:
        yield say(
            ("task", "reward"),
            f"Prolific{here} pays in {' or '.join(CURRENCIES)}, not in {task.reward.currency}",
            "write it in the currency of your workspace",
        )
    if task.estimated_time is None:
        why = f"Prolific{here} shows people how long a visit takes"
        yield _missing(spec, ("task", "estimated_time"), why, _ESTIMATE)
    yield from _faults_of_description(spec, provider)
    yield from _faults_of_allowed_time(spec, provider)
    for name, group in enumerate(provider.block_groups):
        if group in provider.allow_groups:
            yield say(("provider", "block_groups", name), f'"{group}" is both allowed and blocked{_allowed(spec)}')
    codes = provider.completion_codes
    if codes.done is not None and codes.done == codes.nothing:
        yield _same_code(spec, ("provider", "completion_codes"), ("done",), ("nothing",))
    for number, found in enumerate(provider.filters):
        if found.filter_id in _GROUPS:
            yield say(
                ("provider", "filters", number, "filter_id"),
                f'"{found.filter_id}" has a field of its own',
                f"write {_GROUPS[found.filter_id]}: [name or id of the group]",
            )
        yield from _faults_of_filter(spec, found, ("provider", "filters", number))
    yield from _faults_of_requirements(spec, provider)


def _allowed(spec: Spec) -> str:
    return spec.document.at("provider", "allow_groups")


def _faults_of_description(spec: Spec, provider: ProlificProvider) -> Iterator[Located]:
    path: Path = ("provider", "description") if provider.description is not None else ("task", "description")
    text = provider.description if provider.description is not None else spec.task.description
    if not text.strip():
        why = f"people of Prolific{spec.document.at('provider', 'type')} read it first"
        yield _missing(spec, path, why, "say in a sentence or two what they will do")
    tags = _Tags()
    tags.feed(text)
    tags.close()
    for tag, attributes in dict.fromkeys(tags.found):
        if tag not in TAGS:
            yield spec.document.problem(path, f"Prolific shows no <{tag}>", f"of HTML only {', '.join(TAGS)}")
        elif attributes:
            yield spec.document.problem(path, f"Prolific drops the attributes of <{tag}>", f"write <{tag}> alone")


class _Tags(HTMLParser):
    """The tags of a text, each with whether it has attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, bool]] = []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.found.append((tag, bool(attrs)))


def _faults_of_allowed_time(spec: Spec, provider: ProlificProvider) -> Iterator[Located]:
    task, at, given = spec.task, spec.document.at, provider.maximum_allowed_time
    path = ("provider", "maximum_allowed_time")
    if given is None:
        return
    if given % 60:
        yield spec.document.problem(path, f"{given} s is not a number of whole minutes", "like 45m")
    units = task.units_per_visit
    if task.estimated_time is not None and units != "unlimited":
        minutes = ceil(task.estimated_time * min(units, spec.workers.max_units or units) / 60)
        least = least_minutes(minutes)
        if given // 60 < least:
            why = f"{minutes} min{at('task', 'estimated_time')}{at('task', 'units_per_visit')}{at('workers', 'max_units')}"
            yield spec.document.problem(
                path, f"Prolific allows at least {least} min for a visit of {why}", f"write {least}m or more"
            )
    if task.timeout > given and "timeout" in task.model_fields_set:
        message = f"a visit ends after {given // 60} min, before a unit may be held{at('task', 'timeout')}"
        yield spec.document.problem(path, message, "let it be longer than task.timeout")


def _faults_of_filter(spec: Spec, found: Filter, here: Path) -> Iterator[Located]:
    say = spec.document.problem
    if isinstance(found, CompositeFilter):
        for number, inner in enumerate(found.selected_filters):
            yield from _faults_of_filter(spec, inner, (*here, "selected_filters", number))
        return
    if found.filter_id in ("and", "or"):
        message = f'"{found.filter_id}" joins other filters'
        yield say((*here, "filter_id"), message, "give selected_filters, or name a filter of Prolific")
    if isinstance(found, SelectFilter):
        for value in found.weightings or ():
            if value not in found.selected_values:
                hint = nearest(value, found.selected_values)
                at = spec.document.at(*here, "selected_values")
                yield say((*here, "weightings", value), f'"{value[:60]}" is not one of the selected values{at}', hint)
        return
    lower, upper = found.selected_range.lower, found.selected_range.upper
    there: Path = (*here, "selected_range")
    if lower is None and upper is None:
        yield say(there, "a range needs one end at least", "like selected_range: {lower: 18}")
    elif lower is not None and upper is not None:
        if isinstance(lower, str) or isinstance(upper, str):
            mixed = not (isinstance(lower, str) and isinstance(upper, str))
            wrong = "one end is a number and the other is text" if mixed else "the lower end is above the upper"
            if mixed or str(lower) > str(upper):  # dates like 2026-01-31
                yield say(there, wrong)
        elif lower > upper:
            yield say(there, f"the lower end, {lower}, is above the upper, {upper}")


def _faults_of_requirements(spec: Spec, provider: ProlificProvider) -> Iterator[Located]:
    say = spec.document.problem
    if provider.eligibility_requirements and provider.filters:
        message = f"who may take part is said twice{spec.document.at('provider', 'filters')}"
        yield say(("provider", "eligibility_requirements"), message, "use filters alone")
    for number, entry in enumerate(provider.eligibility_requirements):
        here: Path = ("provider", "eligibility_requirements", number)
        name = entry.get("name")
        if name is None:
            yield say(here, '"name" is missing', f"one of: {', '.join(_LEGACY)}")
            continue
        known = _LEGACY.get(str(name).removesuffix("EligibilityRequirement"))
        if known is None:
            yield say((*here, "name"), f"{shown(name)} is no requirement of Mephisto", nearest(str(name), _LEGACY))
            continue
        for key in entry:
            if key != "name" and key not in known:
                yield say((*here, key), f'"{key[:60]}" is not a part of {name}', nearest(key, known))


# ------------------------------------------------------------------------------------------------ generic


def _faults_of_generic(spec: Spec, provider: GenericProvider) -> Iterator[Located]:
    say, at = spec.document.problem, spec.document.at
    for name, ending in (("finish", provider.finish), ("nothing", provider.nothing)):
        if ending is not None:
            yield from _faults_of_ending(spec, ending, ("provider", name))
    if provider.nothing and provider.finish.code and provider.finish.code == provider.nothing.code:
        yield _same_code(spec, ("provider",), ("finish", "code"), ("nothing", "code"))
    parameters = {"worker_parameter": provider.worker_parameter, "visit_parameter": provider.visit_parameter}
    for field, parameter in parameters.items():
        if parameter in _OWN_PARAMETERS:
            yield say(("provider", field), f'"{parameter}" is a part of our own link', "choose another name")
    if provider.link is not None:
        filled = dict(part.partition("=")[::2] for part in provider.link.removeprefix("{page}")[1:].split("&"))
        for field, parameter in parameters.items():
            if not filled.get(parameter):
                where = ("provider", field) if field in provider.model_fields_set else ("provider",)
                message = f'the link{at("provider", "link")} does not fill in "{parameter}"'
                yield say(where, message, f"like {provider.plain_link}")
    if provider.minimum_per_hour is not None and spec.task.estimated_time is None:
        why = f"a rate per hour{at('provider', 'minimum_per_hour')} follows from it"
        yield _missing(spec, ("task", "estimated_time"), why, _ESTIMATE)


def _faults_of_ending(spec: Spec, ending: Ending, path: Path) -> Iterator[Located]:
    if ending.url is None and ending.code is None:
        hint = "like {url: https://panel.example.com/done}, or {code: BIRDS-17}"
        yield spec.document.problem(path, "people need an address or a code to get back to the panel", hint)
    address, _, query = (ending.url or "").partition("?")
    if re.search("[{}]", address):
        message = "{worker} and {visit} are filled in after the ? of an address only"
        yield spec.document.problem((*path, "url"), message, "like https://panel.example.com/done?id={visit}")
    for name in re.findall(r"\{([^{}]*)\}", query):
        if name not in _FILLED:
            message = f"{{{name}}} is not filled in"
            yield spec.document.problem((*path, "url"), message, "these are: {worker}, {visit}")
    if re.search("[{}]", re.sub(r"\{[^{}]*\}", "", query)):
        yield spec.document.problem((*path, "url"), "a brace stands alone", "these are filled in: {worker}, {visit}")


def _same_code(spec: Spec, path: Path, one: Path, other: Path) -> Located:
    second = spec.document.at(*path, *one)
    message = f"the same code as for those who gave answers{second}: the two could not be told apart"
    return spec.document.problem((*path, *other), message, "choose another code")


# ------------------------------------------------------------------------------------------------ plugin


def _faults_of_plugin(spec: Spec, provider: PluginProvider) -> Iterator[Located]:
    """It is not there, or its own schema says no to its settings."""
    say = spec.document.problem
    if provider.name not in (known := installed()):
        there = f"there {'are' if len(known) > 1 else 'is'} {', '.join(known)}" if known else "none is installed"
        hint = nearest(provider.name, known) or "pip install the package that brings it, beside crowdstack"
        yield say(("provider", "name"), f'there is no provider plugin "{provider.name}" here; {there}', hint)
        return
    try:
        plugin = find_plugin(provider.name)
        validator = Draft202012Validator(plugin.settings, registry=Registry())
        wrong = sorted(validator.iter_errors(provider.settings), key=lambda error: [*map(str, error.absolute_path)])
        if not wrong:
            plugin.claims(provider.settings), plugin.finish(provider.settings)
    except (Refused, ValueError, TypeError) as fault:
        yield say(("provider", "name"), f'the provider plugin "{provider.name}" is at fault: {fault}'.splitlines()[0])
        return
    for error in wrong:
        yield say(("provider", "settings", *error.absolute_path), f"{provider.name}: {error.message[:200]}")


# ------------------------------------------------------------------------------------------------ notes


def notes_of(spec: Spec) -> tuple[str, ...]:
    """What to know before such a run is begun, though nothing is wrong with its spec."""
    provider = spec.provider
    if not isinstance(provider, ProlificProvider | GenericProvider | PluginProvider):
        return ()
    notes = []
    whose = "Prolific's" if isinstance(provider, ProlificProvider) else "a panel's"
    public = spec.architect.public_url if isinstance(spec.architect, LocalArchitect) else None
    if public is None or not public.startswith("https://"):
        reach = "is not set" if public is None else f"is {public}"
        notes.append(
            f"architect.public_url {reach}: {whose} people need an https address that the internet reaches; "
            "without one only a crowd on this machine can come"
        )
        if isinstance(provider, ProlificProvider) and provider.webhooks:
            notes.append(
                "provider.webhooks needs that address too: until then Prolific is only looked at every so often"
            )
    if isinstance(provider, GenericProvider):
        notes.append(
            f"give the panel this link: {provider.given_link} ({{page}} is shown by status once the run is up)"
        )
    elif isinstance(provider, ProlificProvider) and provider.eligibility_requirements:
        notes.append(
            "provider.eligibility_requirements is a form that Prolific has retired: say it with provider.filters"
        )
    return tuple(notes)
