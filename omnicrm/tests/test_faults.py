"""The short form of every fault: real processes, services of their own, smaller crowds, no promise of speed.

`make faults` runs them whole.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from faults.__main__ import FAULTS

pytestmark = [pytest.mark.xdist_group("processes"), pytest.mark.timeout(600)]
BASE_DIR = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("code", [fault.code for fault in FAULTS])
def test_a_fault_is_survived(code):
    command = [sys.executable, "-m", "faults", "--short", code]
    done = subprocess.run(
        command, cwd=BASE_DIR, env=os.environ | {"LOG_LEVEL": "CRITICAL"}, capture_output=True, text=True
    )
    print(done.stdout, done.stderr[-2000:])
    assert done.returncode == 0, done.stdout
    if "skipped:" in done.stdout:
        pytest.skip(done.stdout.strip().splitlines()[-1])
