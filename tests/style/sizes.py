#!/usr/bin/env python3
"""Fails on files over 500 lines, functions over 60 (tests: 90, because a test reads from top to
bottom), lines over 100 columns, missing licenses, and names of test cases with a semicolon: ctest would
cut them there and run nothing."""
import pathlib
import sys

from cpp_functions import functions

FILE_LINES, FUNCTION_LINES, TEST_LINES, COLUMNS = 500, 60, 90, 100
FOLDERS = ("src", "apps", "tests", "bench", "kernels")


def problems_of(name, text):
    lines = text.splitlines()
    if not lines or "SPDX-License-Identifier" not in lines[0]:
        yield f"{name}: the first line is not the license"
    if len(lines) > FILE_LINES:
        yield f"{name}: {len(lines)} lines"
    for number, line in enumerate(lines, start=1):
        if line.startswith("TEST_CASE") and ";" in line:
            yield f"{name}:{number}: a semicolon in a test's name"
        if len(line) > COLUMNS:
            yield f"{name}:{number}: {len(line)} columns"
    limit = TEST_LINES if name.startswith("tests/") else FUNCTION_LINES
    for first, length in functions(text):
        if length > limit:
            yield f"{name}:{first}: a function of {length} lines"


def problems(root):
    for path in sorted(p for folder in FOLDERS for p in root.glob(f"{folder}/**/*")):
        name = path.relative_to(root).as_posix()
        if path.suffix in {".h", ".cpp", ".cu", ".cuh"}:
            yield from problems_of(name, path.read_text())
        elif path.suffix in {".css", ".js"} and "SPDX-License-Identifier" not in path.read_text()[:64]:
            yield f"{name}: the first line is not the license"


def main():
    found = list(problems(pathlib.Path(sys.argv[1])))
    print("\n".join(found) or "every file, function and line is within bounds")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
