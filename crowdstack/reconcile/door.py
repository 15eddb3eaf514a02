"""The door: who may come, told to the provider, which shows its study to nobody else where it can.

The task server is told the same (`line`) and turns away whom the provider lets in all the same.
"""

from __future__ import annotations

import logging

from crowdstack.errors import Busy, CredentialsMissing, Refused
from crowdstack.model import Admission, StudyKey
from crowdstack.plan.decide import Rest, RestState
from crowdstack.ports import Provider

_MEND_S = 3600.0  # until it is told again, though nothing changed here: somebody may have changed it there
_BUSY_S, _REFUSED_S = 5.0, 30.0  # the same where it was not taken


class Door:
    def __init__(self, provider: Provider, log: logging.Logger) -> None:
        self._provider, self._log = provider, log
        self._told: Admission | None = None
        self._again_at = float("-inf")
        self._barred: Rest | None = None

    def tell(self, study: StudyKey, admission: Admission, now: float) -> Rest | None:
        """None once the provider has taken it, and as long as it is not told anew. Else what is waited for: until then no place
        may be listed, for people would come who get nothing. `now`: seconds that never go back."""
        if admission == self._told and now < self._again_at:
            return self._barred
        self._told = admission
        try:
            self._provider.set_workers(study, admission)
        except Busy as fault:
            self._barred, pause_s = Rest(RestState.WORKING, _why(fault)), max(_BUSY_S, fault.retry_s or 0.0)
        except (Refused, CredentialsMissing) as fault:
            self._barred, pause_s = Rest(RestState.NEEDS_PERSON, _why(fault)), _REFUSED_S
        else:
            self._barred, pause_s = None, _MEND_S
        if self._barred is not None:
            self._log.warning("%s", self._barred.why)
        self._again_at = now + pause_s
        return self._barred


def _why(fault: Exception) -> str:
    return f"no place is listed while the provider does not take who may come: {fault}"
