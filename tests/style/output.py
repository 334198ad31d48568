#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Fails when anything but core/console writes to standard output or standard error, or when a C++
stream writes a file: such writes throw or lose text if the disk is full or the terminal is gone, and
give no reason. io/files writes files. Narration goes through core/log only, which keeps standard
error in the format of --log-format."""
import pathlib
import re
import sys

CONSOLE = "src/core/console.cpp"
WRITES = re.compile(r"fmt::print|std::(?:cout|cerr|clog|f?printf|puts|fputs|putchar|perror)\b|\b(?:stdout|stderr)\b"
                    r"|STD(?:OUT|ERR)_FILENO|std::print|\bo?fstream\b(?!>)")
NARRATES = re.compile(r"\bwrite_(?:passing_)?narration\(")
NARRATORS = {"src/core/console.h", "src/core/log.cpp"}
STRING = re.compile(r'"(?:\\.|[^"\\])*"')
# Asking what a descriptor is, is not writing.
ASKS = re.compile(r"isatty\(STD(?:OUT|ERR)_FILENO\)")


def writes(line):
    code = STRING.sub('""', line).split("//")[0]
    return WRITES.search(ASKS.sub("", code)) is not None


def narrates(line):
    return NARRATES.search(line.split("//")[0]) is not None


def self_test():
    for line in ('fmt::print(stderr, "x");', 'std::cout << 1;', "write(STDERR_FILENO, text, 1);",
                 "std::ofstream file(path);", "std::fstream file(path);"):
        assert writes(line), line
    assert narrates("write_narration(text);") and not narrates("narrate(text);")
    for line in ("print(text);", "isatty(STDOUT_FILENO) != 0", "// stderr is a terminal", "fmt::format(x)", 'text("on stderr")',
                 "std::ifstream file(path);", "#include <fstream>"):
        assert not writes(line), line


def main():
    self_test()
    root = pathlib.Path(sys.argv[1])
    found = []
    for folder in ("src", "apps"):
        for path in sorted((root / folder).rglob("*")):
            name = path.relative_to(root).as_posix()
            if path.suffix not in {".h", ".cpp"} or name == CONSOLE:
                continue
            for number, line in enumerate(path.read_text().splitlines(), 1):
                if writes(line) or (name not in NARRATORS and narrates(line)):
                    found.append(f"{name}:{number}: {line.strip()}")
    print("\n".join(found) or "only core/console writes to the standard streams, and no C++ stream writes a file")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
