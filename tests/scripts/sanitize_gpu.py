#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""scripts/sanitize-gpu.sh runs every test case by itself and reports what fails, with a stand-in for
compute-sanitizer that finds something in one case, or prints what Catch2 prints about sections.

    sanitize_gpu.py TEST SOURCE_DIR
"""
import os
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

TEST, SOURCE = Path(sys.argv[1]), Path(sys.argv[2])
STAND_IN = """#!/usr/bin/env bash
[ "$1 $3" = "--tool --error-exitcode" ] || exit 9
if [ "$2" = "$FINDS_BY" ] && [[ "$6" == *"comes twice at once"* ]]; then echo "= a finding"; exit 1; fi
if [ "${7:-}" = -c ] && [ -n "$SECTIONS" ]; then echo "$SECTIONS"; exit; fi
exec "${@:5}"
"""


class SanitizeGpu(unittest.TestCase):
    def run_script(self, *tools, finds_by="", sections=""):
        with tempfile.TemporaryDirectory() as folder:
            stand_in = Path(folder, "compute-sanitizer")
            stand_in.write_text(STAND_IN)
            stand_in.chmod(0o755)
            path = f"{folder}:{os.environ['PATH']}"
            return subprocess.run([SOURCE / "scripts/sanitize-gpu.sh", TEST, *tools], text=True,
                                  capture_output=True, check=False,
                                  env={**os.environ, "PATH": path, "FINDS_BY": finds_by,
                                       "SECTIONS": sections})

    def test_every_case_runs_once_by_each_tool(self):
        result = self.run_script("memcheck", "initcheck")
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)
        lines = result.stdout.splitlines()
        self.assertEqual(lines.pop(), "no findings")
        self.assertTrue(all(line.startswith("ok ") for line in lines), lines)
        names = [line.split("check: ")[1] for line in lines]
        self.assertGreater(len(names), 20)
        self.assertTrue(all(names.count(name) == 2 for name in names), names)
        self.assertTrue(any("," in name for name in names))

    def test_a_finding_is_named_with_its_text_and_the_rest_still_runs(self):
        result = self.run_script("memcheck", "initcheck", finds_by="initcheck")
        self.assertNotEqual(result.returncode, 0)
        self.assertNotIn("no findings", result.stdout)
        failed = [line for line in result.stdout.splitlines() if line.startswith("FAILED")]
        self.assertEqual(len(failed), 1, failed)
        self.assertIn("initcheck: ", failed[0])
        self.assertIn("= a finding", result.stdout)
        self.assertGreater(result.stdout.count("ok "), 20)

    def test_sections_of_a_case_that_does_not_exist_fail(self):
        result = self.run_script("racecheck")
        self.assertNotEqual(result.returncode, 0)
        failed = [line for line in result.stdout.splitlines() if line.startswith("FAILED")]
        self.assertEqual([line.rsplit(", ", 1)[1] for line in sorted(failed)],
                         ["20 heads of 512 + 64", "4 heads of 96 + 32"])
        self.assertIn("No test cases matched", result.stdout)

    def test_a_section_that_does_not_exist_fails(self):
        result = self.run_script("racecheck", sections="assertions: - none -")
        failed = [line for line in result.stdout.splitlines() if line.startswith("FAILED")]
        self.assertEqual(len(failed), 2, failed)
        result = self.run_script("racecheck", sections="All tests passed (9 assertions)")
        self.assertEqual(result.returncode, 0, result.stdout)

    def test_other_tools_are_refused(self):
        result = self.run_script("racechek")
        self.assertEqual(result.returncode, 2)
        self.assertIn("no tool racechek; try memcheck, initcheck or racecheck", result.stderr)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
