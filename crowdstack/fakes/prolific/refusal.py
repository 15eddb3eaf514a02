"""What the service says no with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

Detail = str | Sequence[str] | Mapping[str, Sequence[str]]


class Refusal(Exception):
    """An HTTP status and the words of it. `detail` takes each of the three documented forms."""

    def __init__(self, status: int, title: str, detail: Detail = "") -> None:
        super().__init__(f"{status} {title}: {detail}")
        self.status = status
        self.title = title
        self.detail: Detail = detail or title


def invalid(detail: Detail) -> Refusal:
    return Refusal(400, "Validation error", detail)


def forbidden_move(detail: str) -> Refusal:
    return Refusal(400, "Bad request", detail)


def unknown(what: str, key: str) -> Refusal:
    return Refusal(404, "Not found", f"No {what} {key} is here.")


def no_funds(needed: int, available: int, currency: str) -> Refusal:
    # Status and words of the real service for this are not known.
    return Refusal(400, "Insufficient funds", f"{needed} {currency} minor units are needed, {available} are available.")
