#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Help texts, manual pages and the reference in docs/cli.md agree with the program and can be read.

    reference.py PROGRAM SOURCE          test; --write updates docs/cli.md instead
"""
import pathlib
import re
import shutil
import subprocess
import sys

BEGIN, END = "<!-- begin: indexcache-search manual all -->\n", "<!-- end -->\n"


def output(program, *arguments):
    return subprocess.run([program, *arguments], capture_output=True, text=True, check=True).stdout


def commands(program):
    listed = output(program, "--help").split("Commands:\n")[1].split("\n\n")[0]
    return re.findall(r"^  ([a-z]+)", listed, re.M)


def reference_of(document):
    head, rest = document.split(BEGIN)
    return head, rest.split(END)[0], rest.split(END)[1]


def problems_of_help(program, names):
    for name in [None, *names]:
        text = output(program, *([name] if name else []), "--help")
        for line in text.splitlines():
            if len(line) > 100:
                yield f"help of {name}: {len(line)} columns: {line}"
        if name and "Examples:" not in text:
            yield f"help of {name}: no example"


def problems_of_pages(program, names):
    for page in ["indexcache-search", *names]:
        text = output(program, "manual", page)
        for section in (".TH ", ".SH NAME\n", ".SH SYNOPSIS\n"):
            if section not in text:
                yield f"manual {page}: no {section.strip()}"
        if shutil.which("groff") is None:
            continue
        # What man runs, with all warnings but those about breaking lines.
        done = subprocess.run(["groff", "-man", "-Tutf8", "-K", "utf8", "-ww", "-Wbreak"], input=text,
                              capture_output=True, text=True)
        if done.returncode or done.stderr:
            yield f"manual {page}: {done.stderr}"


def problems_of_installed_pages(program, names):
    """The build names the pages that are installed one by one; one for every command is needed."""
    printed = program.parent / "apps/indexcache-search/printed"
    found = {page.stem for page in printed.glob("*.1")}
    for name in names:
        if f"indexcache-search-{name}" not in found:
            yield f"{printed} has no page of {name}: apps/indexcache-search/CMakeLists.txt lists them"


def main():
    program, source = pathlib.Path(sys.argv[1]).resolve(), pathlib.Path(sys.argv[2])
    path = source / "docs/cli.md"
    head, reference, tail = reference_of(path.read_text())
    wanted = "\n" + output(program, "manual", "all") + "\n"
    if "--write" in sys.argv:
        path.write_text(head + BEGIN + wanted + END + tail)
        return
    names = commands(program)
    problems = [*problems_of_help(program, names), *problems_of_pages(program, names),
                *problems_of_installed_pages(program, names)]
    if reference != wanted:
        problems.append("docs/cli.md differs from `indexcache-search manual all`: run "
                        "tests/help/reference.py PROGRAM . --write")
    print("\n".join(problems) or f"{len(names)} commands: help, manual pages and docs/cli.md agree")
    sys.exit(1 if problems or len(names) < 10 else 0)


if __name__ == "__main__":
    main()
