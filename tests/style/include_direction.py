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
    "serving": {"core", "io", "serving"},
    "result": {"core", "io", "calibration", "search", "serving", "result"},
    "gate": {"core", "io", "serving", "result", "gate"},
    "present": {"core", "io", "calibration", "search", "serving", "result", "gate", "present"},
    "run": {"core", "io", "backend", "model", "calibration", "search", "serving", "result", "present", "run"},
}
# Third-party headers that one layer keeps to itself, and implementations nobody includes.
ONLY_IN = {
    "CLI/": ["apps/"],
    "Eigen/": ["src/backend/cpu/"],
    "hdf5.h": ["src/io/"],
    "png.h": ["src/io/"],
    "openssl/": ["src/io/"],
    "pcre2.h": ["src/text/"],
    "utf8proc.h": ["src/text/"],
    "zlib.h": ["src/io/"],
    "zstd.h": ["src/io/"],
    "yaml-cpp/": ["src/io/", "apps/"],
    "backend/cpu/": ["src/backend/cpu/", "src/run/"],
    "backend/cuda/": ["src/backend/cuda/"],
    "kernels/": ["src/backend/cuda/"],
    "cuda": ["src/backend/cuda/"],
    "cublas": ["src/backend/cuda/"],
}
GENERATED = {"version.h"}
# Device code knows CUDA, the language's own small headers and its own folder (kernels/README.md).
KERNELS_MAY_INCLUDE = ("kernels/", "cuda", "cstdint", "cub/")
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]', re.MULTILINE)


def kernel_problems(root):
    for path in sorted([*root.glob("kernels/*.h"), *root.glob("kernels/*.cu*")]):
        for _, header in INCLUDE.findall(path.read_text()):
            if not header.startswith(KERNELS_MAY_INCLUDE):
                yield f"{path.relative_to(root).as_posix()}: kernels must not include {header}"


def problems(root):
    yield from kernel_problems(root)
    for path in sorted([*root.glob("src/**/*.h"), *root.glob("src/**/*.cpp"), *root.glob("apps/**/*.*")]):
        if path.suffix not in {".h", ".cpp"}:
            continue
        name = path.relative_to(root).as_posix()
        for kind, header in INCLUDE.findall(path.read_text()):
            for prefix, places in ONLY_IN.items():
                own_png = kind == '"' and prefix == "png.h"
                if header.startswith(prefix) and not own_png:
                    if not name.startswith(tuple(places)):
                        yield f"{name}: {header} belongs to {' and '.join(places)}"
            if kind == '"' and name.startswith("src/") and header not in GENERATED:
                layer, target = name.split("/")[1], header.split("/")[0]
                if target not in MAY_INCLUDE[layer]:
                    yield f"{name}: layer {layer} must not include {header}"


def main():
    found = list(problems(pathlib.Path(sys.argv[1])))
    print("\n".join(found) or "every include points the right way")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
