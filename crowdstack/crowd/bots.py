"""Bots: seeded workers that answer at random by the schema, err, abandon and repeat themselves at the rates asked for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any

from crowdstack.crowd.answers import AnswerSource
from crowdstack.crowd.conduct import Act, Way, thinking_s
from crowdstack.errors import Refused
from crowdstack.model import WorkerId, bot_id
from crowdstack.wire.configs import CrowdConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class Bot:
    """A worker that takes whatever it is offered for as long as there is work."""

    worker: WorkerId
    config: CrowdConfig
    source: AnswerSource = field(repr=False)

    def act(self, data: Mapping[str, Any], given_up: int) -> Act:
        # By what the unit shows, not by its id: ids are new in each run, and equal seeds shall make equal workers.
        shown = json.dumps(data, sort_keys=True)
        random = Random(f"{self.config.seed}/{self.worker}/{given_up}/{shown}")
        pause_s = thinking_s(self.config.time_per_unit_s, random)
        if random.random() < self.config.abandon_rate:
            return Act(way=random.choice([Way.RETURN, Way.VANISH]), pause_s=pause_s)
        errs = random.random() < self.config.error_rate
        return Act(
            way=Way.ANSWER,
            answers=self.source.right(random),
            wrong=self.source.wrong(random) if errs else None,
            twice=random.random() < self.config.duplicate_rate,
            pause_s=pause_s,
        )

    def left(self, accepted: int) -> None:
        return None


def bots(config: CrowdConfig) -> list[Bot]:
    """The crowd's workers. Refused without a schema that answers can be drawn from."""
    if config.answers is None:
        raise Refused("bots need to know what answers look like", hint="give the task an `answers` schema")
    source = AnswerSource(config.answers, errors=config.error_rate > 0)
    return [Bot(worker=bot_id(number), config=config, source=source) for number in range(1, config.workers + 1)]
