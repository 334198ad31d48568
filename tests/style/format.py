#!/usr/bin/env python3
"""Fails on C++ and CUDA sources that clang-format would change. Other versions format differently, so
only version 14, that of Debian 12, decides; without it the test is skipped (77)."""
import pathlib
import re
import shutil
import subprocess
import sys

VERSION = 14
FOLDERS = ("src", "apps", "tests", "bench", "kernels")


def formatter():
    """The path of clang-format 14, or why there is none."""
    why = f"clang-format {VERSION} is not installed"
    for path in filter(None, map(shutil.which, (f"clang-format-{VERSION}", "clang-format"))):
        text = subprocess.run([path, "--version"], capture_output=True, text=True, check=True).stdout
        version = re.search(r"version (\d+)", text)
        if version and int(version[1]) == VERSION:
            return path, ""
        why += f"; {path}: {text.strip()}"
    return None, why


def main():
    root = pathlib.Path(sys.argv[1])
    path, why = formatter()
    if path is None:
        print(f"skipped: {why}")
        sys.exit(77)
    sources = [p for folder in FOLDERS for p in sorted(root.glob(f"{folder}/**/*"))
               if p.suffix in {".h", ".cpp", ".cu", ".cuh"}]
    result = subprocess.run([path, "--dry-run", "-Werror", "--style=file", *sources])
    print(f"{len(sources)} files, {'formatted' if result.returncode == 0 else 'not all formatted: run clang-format -i on them'}")
    sys.exit(1 if result.returncode else 0)


if __name__ == "__main__":
    main()
