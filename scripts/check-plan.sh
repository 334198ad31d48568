#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Plans a run, runs it, and says how far the plan was from the truth.
#
#   scripts/check-plan.sh PROGRAM MODEL RUN_OPTIONS…
#
# Exit code 1 where memory is off by more than 10 % or the time by more than 30 %.
set -euo pipefail
program=$1
shift
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"$program" plan "$@" --probe --json --quiet >"$folder/plan.json"
"$program" plan "$@" --json --quiet >"$folder/estimate.json"
begin=$(date +%s.%N)
"$program" run "$@" --output "$folder/run" --progress lines >/dev/null 2>"$folder/log"
end=$(date +%s.%N)
python3 - "$folder" "$begin" "$end" <<'PYTHON'
import json
import sys
from pathlib import Path

folder, begin, end = Path(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3])
plan, estimate = (json.loads((folder / name).read_text()) for name in ("plan.json", "estimate.json"))
run = json.loads((folder / "run/run.json").read_text())["created"]["memory"]
rows = [("memory", plan["device_bytes"] / 2**30, run["peak_bytes"] / 2**30, "GiB", 0.10),
        ("time, measured costs", plan["seconds"], end - begin, "s", 0.30),
        ("time, estimated costs", estimate["seconds"], end - begin, "s", None)]
failed = False
for name, planned, seen, unit, limit in rows:
    off = planned / seen - 1
    verdict = "" if limit is None else "ok" if abs(off) <= limit else "OFF"
    failed = failed or verdict == "OFF"
    print(f"{name:<22} planned {planned:9.3f} {unit:<3} seen {seen:9.3f} {unit:<3} "
          f"{off:+7.1%} {verdict}")
sys.exit(failed)
PYTHON
