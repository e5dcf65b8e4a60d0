"""`python -m faults [F1 …] [--seed N] [--short]`: break things, say what held, end with 1 if not all did."""

import argparse
import os
import random
import signal
import sys
import time
import traceback
from pathlib import Path

from . import clocks, disk, house, killing, outages, providers
from .report import Fault, Report, Scale

FAULTS = (
    Fault("F1", "workers killed", killing.f1_kill),
    Fault("F2", "workers killed, doubts parked", killing.f2_park),
    Fault("F4", "PostgreSQL restarted at once", outages.f4_database),
    Fault("F6", "broker flushed and absent", outages.f6_broker),
    Fault("F7", "two beats, two dispatchers", outages.f7_doubles),
    Fault("F8", "workers told to end", killing.f8_end),
    Fault("F9", "workers frozen past their leases", killing.f9_freeze),
    Fault("F10", "a provider that fails", providers.f10_failing),
    Fault("F11", "a poison message", killing.f11_poison),
    Fault("F12", "disk full", disk.f12_full),
    Fault("F14", "clocks that change", clocks.f14_clocks),
    Fault("F16", "consent withdrawn meanwhile", outages.f16_revoke),
)


def main() -> int:
    parser = argparse.ArgumentParser(prog="faults", description=__doc__)
    parser.add_argument("codes", nargs="*", metavar="F1", help="which; all without")
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--short", action="store_true", help="what every test run can afford")
    parser.add_argument("--var", type=Path, default=Path(os.environ.get("OMNICRM_VAR", "var")) / "faults")
    options = parser.parse_args()
    wanted = [fault for fault in FAULTS if not options.codes or fault.code in options.codes]
    if unknown := set(options.codes) - {fault.code for fault in FAULTS}:
        parser.error(f"no such fault: {', '.join(sorted(unknown))}")
    seed = random.randrange(2**32) if options.seed is None else options.seed
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # So that what was started is stopped.
    print(f"seed {seed}", flush=True)
    house.prepare(options.var.resolve(), safe=not options.short)
    held = [_run(fault, Scale(options.short, seed)) for fault in wanted]
    print("\nEverything held." if all(held) else "\nNot everything held.")
    return 0 if all(held) else 1


def _run(fault: Fault, scale: Scale) -> bool:
    from omnicrm.invariants import check_invariants

    print(f"\n{fault.code}  {fault.title}", flush=True)
    start = time.monotonic()
    house.fresh_database()
    try:
        report = fault.make(scale)
    except AssertionError as error:
        traceback.print_exc()
        report = Report()
        report.exactly(f"stuck: {error}", 1, 0)
    if report.skipped:
        print(f"  – skipped: {report.skipped}")
        return True
    report.exactly("rows that break an invariant", sum(one.count for one in check_invariants()), 0)
    for figure in report.figures:
        print(f"  {figure}")
    print(f"  {time.monotonic() - start:.0f} s", flush=True)
    return report.holds


if __name__ == "__main__":
    sys.exit(main())
