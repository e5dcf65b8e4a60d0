import sys
from typing import Any

from django.core.management.base import BaseCommand

from ...invariants import check_invariants


class Command(BaseCommand):
    help = "Asks the database whether everything that must hold, holds; ends with 1 when something does not."

    def handle(self, *args: Any, **options: Any) -> None:
        broken = 0
        for finding in check_invariants():
            verdict = f"{finding.count:,} rows" if finding.count else "ok"
            self.stdout.write(f"{finding.invariant.code:<3} {verdict:>10}  {finding.invariant.promise}")
            for example in finding.examples:
                self.stdout.write(f"{'':17}{example}")
            broken += bool(finding.count)
        if broken:
            self.stderr.write(f"{broken} invariants are broken.")
            sys.exit(1)
