#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What cmake/SealObjects.cmake lets pass and what it refuses, and that sealed code stays apart from an
equal template of the program. Arguments: the CMake command, the compiler, then ld, objcopy, nm, readelf."""
import pathlib
import subprocess
import sys
import tempfile
import unittest

CMAKE, COMPILER, LD, OBJCOPY, NM, READELF = sys.argv[1:7]
SCRIPT = pathlib.Path(__file__).resolve().parents[2] / "cmake" / "SealObjects.cmake"

# A function that both sides have, in different versions: as one compiled for two instruction sets.
SHARED = "template <typename T> [[gnu::noinline]] T answer(T x) { return x + VERSION; }\n"
SEALED = SHARED + """
extern "C" int (*const table)(int);
static int call(int x) { return answer(x); }
int (*const table)(int) = call;
"""
PROGRAM = SHARED + """
#include <cstdio>
extern "C" int (*const table)(int);
int main() { std::printf("%d %d\\n", table(0), answer(0)); }
"""


class Seal(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def compiled(self, name, source, *options):
        (self.folder / f"{name}.cpp").write_text(source)
        subprocess.run([COMPILER, "-std=c++20", "-O1", *options, "-c", f"{name}.cpp", "-o", f"{name}.o"],
                       cwd=self.folder, check=True)
        return f"{name}.o"

    def seal(self, *objects):
        return subprocess.run([CMAKE, f"-DOUTPUT={self.folder}/sealed.o", "-DVISIBLE=table", f"-DOBJECTS={';'.join(objects)}",
                               f"-DLD={LD}", f"-DOBJCOPY={OBJCOPY}", f"-DNM={NM}", f"-DREADELF={READELF}",
                               "-P", SCRIPT], cwd=self.folder, capture_output=True, text=True)

    def output(self, *objects):
        subprocess.run([COMPILER, *objects, "-o", "program"], cwd=self.folder, check=True)
        return subprocess.run(["./program"], cwd=self.folder, check=True, capture_output=True, text=True).stdout

    def test_equal_templates_stay_apart(self):
        inner = self.compiled("inner", SEALED, "-DVERSION=4")
        outer = self.compiled("outer", PROGRAM, "-DVERSION=2")
        self.assertEqual(self.output(inner, outer), "4 4\n", "the linker merges them, and sealing is needed")
        result = self.seal(inner)
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertEqual(self.output("sealed.o", outer), "4 2\n")
        self.assertEqual(self.output(outer, "sealed.o"), "4 2\n")

    def refused(self, source, *options):
        result = self.seal(self.compiled("inner", SEALED, "-DVERSION=4"), self.compiled("more", source, *options))
        self.assertNotEqual(result.returncode, 0)
        self.assertFalse((self.folder / "sealed.o").exists())
        return " ".join(result.stderr.split())

    def test_code_at_start_is_refused(self):
        self.assertIn("runs when the program starts", self.refused("int f();\nint n = f();\n"))

    def test_symbols_that_stay_visible_are_refused(self):
        unique = "template <typename T> T& one() { static T t; return t; }\nint f() { return ++one<int>(); }\n"
        self.assertIn("only table may be visible", self.refused(unique, "-fgnu-unique"))


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
