"""Run all benchmarks and rewrite docs/performance.md: ``python -m bench [--quick]``."""

import sys
from pathlib import Path

from bench import (
    accuracy,
    api,
    cost,
    flat,
    footprint,
    growth,
    ingest,
    pushgateway,
    queries,
    storms,
)
from bench.report import Result, machine, show

DOCUMENT = Path(__file__).parent.parent / "docs" / "performance.md"
HEAD = """# Performance

Written by `make bench`: what the collector costs, how exact it is, how fast the receiver stores
and answers; each figure measured side by side with what it is compared to, in one run on one
machine. Compare ratios, not milliseconds.
Each section is one program of its own: `python -m bench.cost` and so on; `--quick` for a short one.
"""


def main() -> None:
    """Run, print, write."""
    quick = "--quick" in sys.argv
    results = []
    measuring = (cost, growth, footprint, accuracy, storms)
    for benchmark in (*measuring, ingest, queries, flat, pushgateway, api):
        result = benchmark.run(quick)
        show(result)
        results.append(result)
    if not quick:
        DOCUMENT.write_text(document(results))
        print(f"written: {DOCUMENT}")


def document(results: list[Result]) -> str:
    """Return the whole document."""
    missed = [claim for result in results for claim in result.claims if not claim.is_met]
    met = sum(claim.is_met for result in results for claim in result.claims)
    verdict = [f"Of {met + len(missed)} targets {met} are met."]
    verdict += [f"- missed: {claim.text}; measured: {claim.shown}" for claim in missed]
    parts = [HEAD, f"Measured {machine()}.\n", "\n".join(verdict) + "\n"]
    return "\n".join([*parts, *(result.markdown() for result in results)])


if __name__ == "__main__":
    main()
