"""Is a webhook from Prolific? A rule; whoever takes hooks in calls it before anything of the body is read."""

from __future__ import annotations

import base64
import hmac

from crowdstack.tokens import Secret


def verify_hook(secret: Secret, timestamp: str, raw_body: bytes, signature: str) -> bool:
    """Whether `X-Prolific-Request-Signature` is of this body as it came and of `X-Prolific-Request-Timestamp`.

    Old timestamps are not refused: deliveries are repeated for a day. Takes as long for a good one as for a bad one.
    """
    made = base64.b64encode(hmac.digest(secret, timestamp.encode("utf-8", "surrogateescape") + raw_body, "sha256"))
    return hmac.compare_digest(made, signature.encode("utf-8", "surrogateescape"))
