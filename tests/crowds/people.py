"""Participants of a simulated run: each is a generator that does something and yields the seconds until it goes on.

They take places at the fake, open the page that it sends them to, answer at the server, hand in; or do anything else
that people do. Forgers come without the provider having sent them.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

from crowdstack.fakes.prolific.records import Submission
from crowdstack.fakes.prolific.refusal import Refusal
from crowdstack.server.pool import No
from crowdstack.server.rows import Hold

if TYPE_CHECKING:
    from tests.crowds.world import World

Life = Iterator[float]
Page = Generator[float, None, str]  # ends with the code that it gave


@dataclass(frozen=True, slots=True, kw_only=True)
class Conduct:
    """How often people do what; the rest works and hands in with the code of the page."""

    never_starts: float = 0.02
    returns: float = 0.08  # before or after some work
    times_out: float = 0.04
    late: float = 0.25  # of those: come back with the code afterwards
    no_code: float = 0.03
    wrong_code: float = 0.02
    no_work: float = 0.02  # hand in without having opened the page
    gives_back_a_unit: float = 0.03
    stops_early: float = 0.1
    takes_it_back: float = 0.02  # returns what was handed in
    obeys: float = 0.6  # returns when asked to
    comes_again: float = 0.1  # opens the page once more after the end
    forged: float = 0.08  # of all who come


EXEMPLARY = Conduct(
    never_starts=0, returns=0, times_out=0, no_code=0, wrong_code=0, no_work=0, gives_back_a_unit=0, stops_early=0,
    takes_it_back=0, comes_again=0, forged=0,
)  # fmt: skip


def somebody(world: World, name: str) -> Life:
    """One participant who found the study."""
    draw, conduct = world.random, world.terms.conduct
    study = world.listed()
    if study is None:
        return
    try:
        submission = world.fake.reserve(study, name)
    except Refusal:
        return
    if draw.random() < conduct.never_starts:
        if draw.random() < 0.5:  # else the place lapses
            yield draw.uniform(5, 100)
            _give_back(world, submission)
        return
    yield draw.uniform(1, 40)
    try:
        url = world.fake.start(submission.id)
    except Refusal:
        return
    fate = draw.random()
    if fate < conduct.returns:
        if draw.random() < 0.5:
            yield from _page(world, url, most=draw.randint(1, 2))
        yield draw.uniform(1, 60)
        _give_back(world, submission)
        return
    fate -= conduct.returns
    if fate < conduct.no_work:
        yield draw.uniform(5, 60)
        yield from _hand_in(world, submission, draw.choice([world.codes["done"], "WR0NG", None]), url)
        return
    fate -= conduct.no_work
    most = draw.randint(1, 2) if draw.random() < conduct.stops_early else 99
    code: str | None = yield from _page(world, url, most)
    if fate < conduct.times_out:
        if draw.random() < conduct.late:
            yield world.terms.limit_s + draw.uniform(1, 300)
            yield from _hand_in(world, submission, code, url)
        return
    fate -= conduct.times_out
    if fate < conduct.no_code:
        code = None
    elif fate < conduct.no_code + conduct.wrong_code:
        code = "WR0NG"
    yield draw.uniform(1, 20)
    yield from _hand_in(world, submission, code, url)


def _page(world: World, url: str, most: int) -> Page:
    """At the page until there is no more to do, or enough was done. The code that the page gives at the end."""
    query = parse_qs(urlsplit(url).query)
    return (yield from _work(world, query["PROLIFIC_PID"][0], query["SESSION_ID"][0], most))


def _work(world: World, worker: str, session: str, most: int) -> Page:
    draw, server, codes = world.random, world.server, world.codes
    for _ in range(4):
        visit = server.arrive(worker, world.study, session)
        if not isinstance(visit, No) or visit.reason is not None:
            break
        yield draw.uniform(4, 12)
    if isinstance(visit, No):
        return codes["nothing"]
    patience = 4
    while visit.submissions < most:
        hold = server.next(visit)
        if not isinstance(hold, Hold):
            if hold.reason is not None or not patience:
                break
            patience -= 1
            yield draw.uniform(4, 12)
            continue
        if draw.random() < world.terms.conduct.gives_back_a_unit:
            yield 2.0
            server.give_back(hold, worker)
            break
        yield draw.uniform(*world.terms.work_s)
        if not server.submit(hold, worker, {"label": worker}):
            break
    return codes["done"] if visit.submissions else codes["nothing"]


def _hand_in(world: World, submission: Submission, code: str | None, url: str) -> Life:
    draw, conduct = world.random, world.terms.conduct
    try:
        world.fake.complete(submission.id, code)
    except Refusal:
        return  # too late, or the study is gone
    if draw.random() < conduct.comes_again:
        yield draw.uniform(1, 30)
        yield from _page(world, url, most=99)
    if draw.random() < conduct.takes_it_back:
        yield draw.uniform(1, 60)
        _give_back(world, submission)
        return
    yield draw.uniform(60, 240)
    if submission.return_requested is not None and draw.random() < conduct.obeys:
        _give_back(world, submission)


def _give_back(world: World, submission: Submission) -> None:
    try:
        world.fake.give_back(submission.id)
    except Refusal:
        pass  # it is reviewed, or the study is gone


def forger(world: World, number: int) -> Life:
    """Ids made up, in whole or in part, by somebody who knows the link."""
    draw = world.random
    real = list(world.fake.world.submissions.values())
    other = draw.choice(real) if real else None
    worker, session = f"f{number:023d}", f"{number:024x}"
    match draw.randrange(3):
        case 1 if other is not None:
            session = other.id  # somebody else's
        case 2 if other is not None:
            worker = other.participant
    world.forged.add((worker, session))
    yield draw.uniform(1, 10)
    yield from _work(world, worker, session, most=draw.randint(1, 3))
