"""Majority vote of an export against the gold answers: `python score.py answers-out.csv gold.csv`.

Ties count half. Prints the share of items that the crowd got right.
"""

from __future__ import annotations

import csv
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping


def score(rows: Iterable[Mapping[str, str]], gold: Mapping[str, str]) -> float:
    """Share of the gold items whose majority answer is right; a tie that includes the right answer counts its part."""
    votes: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for row in rows:
        votes[row["item"]][row["answer.entails"]] += 1
    right = 0.0
    for item, answer in gold.items():
        most = max(votes[item].values(), default=0)
        winners = [vote for vote, count in votes[item].items() if count == most]
        right += (answer in winners) / max(len(winners), 1)
    return right / len(gold)


def main(export: str, gold: str) -> None:
    with open(gold, newline="", encoding="utf-8") as file:
        truth = {row["item"]: row["entails"] for row in csv.DictReader(file)}
    with open(export, newline="", encoding="utf-8") as file:
        print(f"{score(csv.DictReader(file), truth):.3f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
