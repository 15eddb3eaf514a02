"""`reconcile` (hidden): the body of the detached process that `up` starts. People never type it."""

from __future__ import annotations

from pathlib import Path

import click


@click.command(hidden=True)
@click.option("--state", required=True, type=click.Path(path_type=Path))
@click.option("--run", "run_id", required=True)
def reconcile(state: Path, run_id: str) -> int:
    """Keep one run as it is wanted: observe, decide, act, until it is destroyed."""
    from crowdstack import wiring

    return wiring.reconcile(state, run_id)


COMMANDS = (reconcile,)
