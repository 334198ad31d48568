#!/usr/bin/env python3
"""Fails when a file includes a layer that its own layer must not know (docs/architecture.md)."""
import pathlib
import re
import sys

MAY_INCLUDE = {
    "core": {"core"},
    "io": {"core", "io"},
    "backend": {"core", "backend", "kernels"},
    "model": {"core", "io", "backend", "model"},
    "text": {"core", "io", "text"},
    "calibration": {"core", "io", "text", "calibration"},
    "search": {"core", "io", "backend", "model", "calibration", "search"},
    "profile": {"core", "io", "backend", "model", "calibration", "search", "profile"},
    "ranks": {"core", "search", "ranks"},
    "distill": {"core", "io", "backend", "model", "calibration", "distill"},
    "serving": {"core", "io", "serving"},
    "result": {"core", "io", "calibration", "search", "profile", "serving", "result"},
    "gate": {"core", "io", "profile", "serving", "result", "gate"},
    "present": {"core", "io", "calibration", "search", "profile", "serving", "result", "gate", "present"},
    "run": {"core", "io", "backend", "model", "calibration", "search", "ranks", "distill", "serving", "result", "present", "run"},
}
# A test knows what the code in the folder of the same name knows, the helpers of tests, and a backend
# to compute with. Other folders of tests (cli, cuda, fuzz, …) and the benchmarks may include any layer.
EVERY_TEST = {"support", "backend"}

# Third-party headers that few places keep to themselves, and implementations nobody else includes.
ONLY_IN = {
    "CLI/": ["apps/"],
    "Eigen/": ["src/backend/cpu/arithmetic/"],
    "catch2/": ["tests/support/", "tests/cuda/main.cpp"],
    "hdf5.h": ["src/io/"],
    "png.h": ["src/io/"],
    "openssl/": ["src/io/"],
    "pcre2.h": ["src/text/"],
    "utf8proc.h": ["src/text/"],
    "zlib.h": ["src/io/", "tests/io/"],
    "zstd.h": ["src/io/", "tests/io/"],
    "yaml-cpp/": ["src/io/"],
    "backend/cpu/": ["src/backend/cpu/", "src/run/", "apps/", "tests/", "bench/"],
    "backend/cuda/": ["src/backend/cuda/", "tests/cuda/", "bench/"],
    "mpi.h": ["src/ranks/mpi/"],
    "kernels/": ["src/backend/cuda/", "tests/cuda/"],
    "cuda": ["src/backend/cuda/", "tests/cuda/", "bench/"],
    "cublas": ["src/backend/cuda/"],
    # Loops in parallel are OpenMP's; a thread of one's own loads weights, or gives work to a device.
    # Other uses want a reason.
    "omp.h": ["src/core/", "src/backend/cpu/", "src/calibration/", "tests/backend/"],
    "thread": ["src/model/", "src/search/spread.cpp", "src/core/concurrently.cpp",
               "src/ranks/", "src/run/", "apps/", "tests/"],
    "future": [],
    "execution": [],
}
GENERATED = {"version.h", "cpu_isas.inc"}
# Device code knows CUDA, the language's own small headers and its own folder (kernels/README.md).
KERNELS_MAY_INCLUDE = ("kernels/", "cuda", "cstdint", "cub/")
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]', re.MULTILINE)


def begins(header, prefix):
    """Whether `prefix` (a folder, a file, or the first letters of a library's headers) means the header."""
    exact = prefix in {"thread", "future", "execution"}
    return header == prefix if exact else header.startswith(prefix)


def allowed_layers(name):
    """The folders whose headers the file may include; None for any."""
    top, folder = name.split("/")[:2]
    if top == "src":
        return MAY_INCLUDE[folder]
    if top == "tests" and folder in MAY_INCLUDE:
        return MAY_INCLUDE[folder] | EVERY_TEST
    return None


def problems_of(name, text):
    for kind, header in INCLUDE.findall(text):
        if name.startswith("kernels/"):
            if not header.startswith(KERNELS_MAY_INCLUDE):
                yield f"{name}: kernels must not include {header}"
            continue
        for prefix, places in ONLY_IN.items():
            ours = kind == '"' and prefix == "cuda"  # "cuda/gpu.h" is a helper of tests
            if begins(header, prefix) and not ours and not name.startswith(tuple(places)):
                yield f"{name}: {header} belongs to {' and '.join(places) or 'nobody'}"
        layers = allowed_layers(name)
        if kind == '"' and layers is not None and header not in GENERATED:
            target = header.split("/")[0]
            if target not in layers:
                yield f"{name}: layer {name.split('/')[1]} must not include {header}"


def problems(root):
    for folder in ("kernels", "src", "apps", "tests", "bench"):
        for path in sorted(root.glob(f"{folder}/**/*")):
            if path.suffix in {".h", ".cpp", ".cu", ".cuh"}:
                yield from problems_of(path.relative_to(root).as_posix(), path.read_text())


def main():
    found = list(problems(pathlib.Path(sys.argv[1])))
    print("\n".join(found) or "every include points the right way")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
