"""Print every skipped test of a JUnit file; fail on one whose reason is not expected here.

On a CI machine every tool is installed, so the list is short on purpose.
"""

from __future__ import annotations

import sys
import xml.etree.ElementTree as ElementTree

EXPECTED: tuple[str, ...] = ()  # parts of reasons


def main(path: str) -> int:
    bad = 0
    count = 0
    for case in ElementTree.parse(path).iter("testcase"):
        count += 1
        for skip in case.findall("skipped"):
            reason = skip.get("message", "")
            expected = any(part in reason for part in EXPECTED)
            bad += not expected
            print(
                f"skipped{'' if expected else ' (not expected)'}: {case.get('classname')}::{case.get('name')}: {reason}"
            )
    print(f"{count} tests, {bad} skips that were not expected")
    return 1 if bad or not count else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1]))
