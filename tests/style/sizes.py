#!/usr/bin/env python3
"""Fails on files over 500 lines, functions over 60, lines over 100 columns, missing licences, and
names of test cases with a semicolon: ctest would cut them there and run nothing."""
import pathlib
import re
import sys

FILE_LINES, FUNCTION_LINES, COLUMNS = 500, 60, 100
# A definition that opens a block at its own indentation; the matching brace closes it.
OPENING = re.compile(r"^(\s*)(?!namespace|class|struct|enum|extern|using|constexpr|static constexpr|inline constexpr)\S.*\{$")


def functions(lines):
    """(first line, length) of every block that begins at namespace or class scope."""
    for number, line in enumerate(lines):
        match = OPENING.match(line)
        if not match or len(match.group(1)) > 2 or line.lstrip().startswith(("if", "for", "while", "}")):
            continue
        closing = match.group(1) + "}"
        for length, later in enumerate(lines[number + 1 :], start=2):
            if later.startswith(closing):
                yield number + 1, length
                break


def problems(root):
    sources = [p for d in ("src", "apps", "tests", "kernels") for p in root.glob(f"{d}/**/*")
               if p.suffix in {".h", ".cpp", ".cu", ".cuh"}]
    for path in sorted(sources):
        name = path.relative_to(root).as_posix()
        lines = path.read_text().splitlines()
        if "SPDX-License-Identifier" not in lines[0]:
            yield f"{name}: the first line is not the licence"
        if len(lines) > FILE_LINES:
            yield f"{name}: {len(lines)} lines"
        for number, line in enumerate(lines, start=1):
            if line.startswith("TEST_CASE") and ";" in line:
                yield f"{name}:{number}: a semicolon in a test's name"
            if len(line) > COLUMNS:
                yield f"{name}:{number}: {len(line)} columns"
        for first, length in functions(lines):
            if length > FUNCTION_LINES and not name.startswith("tests/"):
                yield f"{name}:{first}: a function of {length} lines"


def main():
    found = list(problems(pathlib.Path(sys.argv[1])))
    print("\n".join(found) or "every file, function and line is within bounds")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
