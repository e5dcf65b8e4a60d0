"""`python -m bench [measure …] [--rounds N] [--full]`: measure, print a table, write bench.json."""

import argparse
import importlib
import json
import sys

from omnicrm import embedded

from . import database

# In the order they run; each names its MEASURES.
MODULES = ("imports", "segments", "planning", "dispatch", "rendering", "claiming", "memory", "pages")


def main() -> int:
    """Run what was asked for; 1 when a must does not hold or a measure broke."""
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("measures", nargs="*", help="names of measures or modules; all without")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--full", action="store_true", help="the sizes of the issue; takes hours")
    arguments = parser.parse_args()

    target = embedded.var_dir() / "bench.json"
    database.start()
    import django

    django.setup()
    from . import report
    from .harness import Measure, Options, run_measure

    options = Options(full=arguments.full, rounds=arguments.rounds)
    measures: list[Measure] = []
    for name in MODULES:
        found: list[Measure] = importlib.import_module(f"bench.{name}").MEASURES
        measures += [m for m in found if not arguments.measures or {m.name, name} & set(arguments.measures)]
    if not measures:
        parser.error("no such measure")
    record = report.facts(options)
    print(report.heading(record))
    for measure in measures:
        print(f"\n{measure.title}: {measure.sizes(options)}", flush=True)
        result = run_measure(measure, options, say=lambda line: print(line, flush=True))
        record["measures"].append(result.as_json())
        record["failed"] |= result.failed
        print(report.table(result), flush=True)
        target.write_text(json.dumps(record, indent=1))
    print(report.summary(record, target))
    return 1 if record["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
