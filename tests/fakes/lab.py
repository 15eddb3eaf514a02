"""A fake account and a client of it whose every request and answer is held against the published document."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import requests

from crowdstack.fakes.prolific import FakeProlific, Faults, InProcessTransport, Service, Settings
from tests.contracts.prolific_contract import check_answer, check_request

HOST = "https://api.prolific.com"
CODE = "C0MPLETED"
APPROVING = "APPR0VED"
LONG = "You answered every question the same way, although the questions asked for different answers; see the log."

DRAFT: dict[str, Any] = {
    "name": "Birds",
    "internal_name": "birds-1",
    "description": "Which bird is it?",
    "external_study_url": "https://example.org/t?p={{%PROLIFIC_PID%}}&s={{%STUDY_ID%}}&v={{%SESSION_ID%}}",
    "prolific_id_option": "url_parameters",
    "total_available_places": 2,
    "estimated_completion_time": 10,
    "reward": 100,
    "completion_codes": [
        {"code": CODE, "code_type": "COMPLETED", "actions": [{"action": "MANUALLY_REVIEW"}]},
        {"code": APPROVING, "code_type": "OTHER", "actions": [{"action": "AUTOMATICALLY_APPROVE"}]},
    ],
}


class Api:
    """A researcher's client. `call` fails the test when a request or an answer does not fit the document."""

    def __init__(self, session: requests.Session, host: str, token: str = "fake-token") -> None:
        self.session = session
        self.host = host
        self.session.headers["Authorization"] = f"Token {token}"

    def send(self, method: str, path: str, body: Any = None, **query: Any) -> requests.Response:
        """Whatever it is; only the answer is checked."""
        response = self.session.request(
            method, f"{self.host}/api/v1{path}", json=body, params=query, timeout=5, allow_redirects=False
        )
        if response.status_code < 500:
            check_answer(method, f"/api/v1{path}", response.status_code, response.json() if response.content else None)
        return response

    def call(self, method: str, path: str, body: Any = None, *, expect: int = 0, **query: Any) -> Any:
        """A request as it should be, its answer's body; any 2xx, or just `expect`."""
        check_request(method, f"/api/v1{path}", query, body)
        response = self.send(method, path, body, **query)
        assert response.ok if not expect else response.status_code == expect, (response.status_code, response.text)
        return response.json() if response.content else None

    def refused(self, method: str, path: str, body: Any = None, *, expect: int = 400, **query: Any) -> str:
        """The words of a refusal; the request need not fit the document."""
        response = self.send(method, path, body, **query)
        assert response.status_code == expect, (response.status_code, response.text)
        return response.text

    def get(self, path: str, **query: Any) -> Any:
        return self.call("GET", path, **query)

    def post(self, path: str, body: Any = None) -> Any:
        return self.call("POST", path, body)

    def patch(self, path: str, body: Any) -> Any:
        return self.call("PATCH", path, body)

    def act(self, study: str, action: str, **more: Any) -> Any:
        return self.post(f"/studies/{study}/transition/", {"action": action, **more})


class Lab:
    """An account and its client in one process, on a virtual clock. 100.00 in the wallet, no fees, unless asked."""

    def __init__(
        self,
        *,
        wallet: int = 10_000,
        faults: Faults | None = None,
        waited: Callable[[float], object] | None = None,
        seed: int = 0,
        **settings: Any,
    ) -> None:
        settings = {"fee_bp": 0, "publishing_s": 0, **settings}
        self.fake = FakeProlific(seed=seed, settings=Settings(**settings), faults=faults, wallet=wallet)
        self.service = Service(self.fake)
        session = requests.Session()
        session.mount(HOST, InProcessTransport(self.service, waited or self.fake.advance))
        self.api = Api(session, HOST)

    def draft(self, **fields: Any) -> str:
        return str(self.api.post("/studies/", DRAFT | fields)["id"])

    def live(self, **fields: Any) -> str:
        """A published study that is ACTIVE."""
        study = self.draft(**fields)
        self.api.act(study, "PUBLISH")
        self.fake.advance(self.fake.world.settings.publishing_s)
        assert self.status(study) == "ACTIVE"
        return study

    def status(self, study: str) -> str:
        return str(self.api.get(f"/studies/{study}/")["status"])

    def begun(self, study: str, participant: str = "anna") -> str:
        """A submission that is ACTIVE."""
        submission = self.fake.reserve(study, participant).id
        self.fake.start(submission)
        return submission

    def handed_in(self, study: str, participant: str = "anna", code: str | None = CODE) -> str:
        submission = self.begun(study, participant)
        self.fake.complete(submission, code)
        return submission

    def submission(self, key: str) -> Any:
        return self.api.get(f"/submissions/{key}/")

    def decide(self, submission: str, action: str, **more: Any) -> Any:
        return self.api.post(f"/submissions/{submission}/transition/", {"action": action, **more})

    def reject(self, submission: str) -> Any:
        return self.decide(submission, "REJECT", message=LONG, rejection_category="LOW_EFFORT")

    def bonus(self, study: str, *lines: tuple[str, str]) -> Any:
        csv = "".join(f"{who},{amount}\n" for who, amount in lines)
        return self.api.post("/submissions/bonus-payments/", {"study_id": study, "csv_bonuses": csv})
