"""How this account behaves where accounts differ, or where nothing is documented. One value per question."""

from __future__ import annotations

from dataclasses import dataclass, field

DAY_S = 24 * 3600

FEATURES = frozenset({"test-study", "screen-out", "dynamic-payment", "auto-reject"})

FEES_BP = {"corporate": 4280, "academic": 3330}  # hundredths of a percent, prolific.com/pricing, September 2026
FLOOR_PER_HOUR = {"GBP": 600, "USD": 800}  # minor units
RECOMMENDED_PER_HOUR = {"GBP": 900, "USD": 1200}


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    fee_bp: int = FEES_BP["corporate"]
    vat_bp: int = 0
    vat_on_all: bool = False  # else on the fee alone
    features: frozenset[str] = field(default=FEATURES)  # of this workspace; the others answer 400
    publishing_s: float = 2  # the short PUBLISHING
    reserved_s: float = 600  # a reservation lapses
    completion_lag_s: float = 0  # from the redirect until the API shows it
    bulk_lag_s: float = 5  # bulk-approve takes effect
    pay_lag_s: float = 5  # a bulk bonus is paid
    auto_approve_s: float = 21 * DAY_S
    full_when_taken: bool = False  # AWAITING REVIEW when every place is held; else when every place is handed in
    freed_is_active: bool = False  # a place freed in AWAITING REVIEW: the study goes ACTIVE; else PAUSED
    stop_is_final: bool = False  # more places never reopen a stopped study
    refuse_local_urls: bool = False  # the real one takes public addresses alone
    hook_retries: int = 11  # within a day
    hook_disabled_after_s: float = 5 * DAY_S
