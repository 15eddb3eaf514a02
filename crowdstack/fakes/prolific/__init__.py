"""A fake of the Prolific API, after its published document and what maintained clients have seen.

`FakeProlific` is the account (pure, virtual clock); `Service` answers requests; `InProcessTransport` puts it behind a
requests session, `http.serve` on a port. Read in this order: states, records, world, wallet, studies, submissions, fake.
"""

from crowdstack.fakes.prolific.fake import FakeProlific
from crowdstack.fakes.prolific.faults import Faults
from crowdstack.fakes.prolific.records import Effect, Study, Submission, WalletLine
from crowdstack.fakes.prolific.service import Service
from crowdstack.fakes.prolific.settings import FEES_BP, Settings
from crowdstack.fakes.prolific.states import TRANSITIONS, Move, StudyStatus, SubmissionStatus
from crowdstack.fakes.prolific.transport import InProcessTransport

__all__ = [
    "FEES_BP", "TRANSITIONS", "Effect", "FakeProlific", "Faults", "InProcessTransport", "Move", "Service", "Settings",
    "Study", "StudyStatus", "Submission", "SubmissionStatus", "WalletLine",
]  # fmt: skip
