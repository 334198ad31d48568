#!/usr/bin/env python3
"""The rules of include_direction.py, on includes that break them: a rule that cannot fail checks nothing."""
import unittest

from include_direction import MAY_INCLUDE, problems_of


def refused(name, *includes):
    return len(list(problems_of(name, "".join(f"#include {header}\n" for header in includes))))


class Layers(unittest.TestCase):
    def test_a_layer_includes_what_is_below_it(self):
        self.assertEqual(refused("src/io/json.cpp", '"io/json.h"', '"core/error.h"', '"version.h"'), 0)
        self.assertEqual(refused("src/core/error.cpp", '"io/json.h"'), 1)
        self.assertEqual(refused("src/io/json.cpp", '"search/greedy.h"', '"present/svg.h"'), 2)
        for layer, below in MAY_INCLUDE.items():
            for other in MAY_INCLUDE:
                problems = refused(f"src/{layer}/a.h", f'"{other}/a.h"')
                self.assertEqual(problems, 0 if other in below else 1, (layer, other))

    def test_tests_follow_their_layer(self):
        self.assertEqual(refused("tests/io/json_test.cpp", '"io/json.h"', '"support/files.h"'), 0)
        self.assertEqual(refused("tests/io/json_test.cpp", '"search/greedy.h"'), 1)
        self.assertEqual(refused("tests/calibration/a_test.cpp", '"backend/cpu/cpu_backend.h"'), 0)
        self.assertEqual(refused("tests/cli/a_test.cpp", '"search/greedy.h"', '"present/page.h"'), 0)
        self.assertEqual(refused("bench/sweep.cpp", '"search/greedy.h"', '"run_bench.h"'), 0)

    def test_device_code_includes_almost_nothing(self):
        self.assertEqual(refused("kernels/a.cu", '"kernels/a.h"', "<cuda_bf16.h>", "<cub/cub.cuh>"), 0)
        self.assertEqual(refused("kernels/a.cu", "<vector>", '"core/error.h"'), 2)


class Owners(unittest.TestCase):
    def test_headers_with_an_owner(self):
        for header, place in (("<CLI/CLI.hpp>", "apps/"), ("<Eigen/Dense>", "src/backend/cpu/arithmetic/"), ("<png.h>", "src/io/"),
                              ("<yaml-cpp/yaml.h>", "src/io/"), ("<omp.h>", "src/backend/cpu/"),
                              ("<thread>", "src/model/"), ("<zstd.h>", "src/io/"), ("<cublasLt.h>", "src/backend/cuda/")):
            self.assertEqual(refused(place + "a.cpp", header), 0, header)
            for other in ("src/search/a.cpp", "src/present/a.cpp", "bench/a.cpp"):
                self.assertEqual(refused(other, header), 1, (other, header))

    def test_who_may_see_a_backend(self):
        for name in ("apps/a/b.cpp", "tests/search/a.cpp", "bench/a.cpp"):
            self.assertEqual(refused(name, '"backend/cpu/cpu_backend.h"'), 0)
        self.assertEqual(refused("src/search/a.cpp", '"backend/cpu/cpu_backend.h"'), 1)
        self.assertEqual(refused("apps/a/b.cpp", '"backend/cuda/cuda_backend.h"'), 1)
        self.assertEqual(refused("src/search/a.cpp", '"kernels/top_k.h"'), 2)  # not its layer, not its owner

    def test_files_of_ours_that_resemble_a_library(self):
        self.assertEqual(refused("src/present/a.cpp", '"io/png.h"'), 0)
        self.assertEqual(refused("tests/cuda/a_test.cpp", '"cuda/gpu.h"', "<cuda_runtime.h>"), 0)
        self.assertEqual(refused("tests/io/a_test.cpp", "<catch2/catch.hpp>"), 1)
        self.assertEqual(refused("tests/io/a_test.cpp", '"support/catch.h"'), 0)
        self.assertEqual(refused("src/search/a.cpp", "<future>"), 1)


if __name__ == "__main__":
    unittest.main()
