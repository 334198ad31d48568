#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Installs transformers and the engines' packages into build/interop, without their CUDA parts, and runs the
# checks of exported patterns: tests/interop/engines.sh build/dev/indexcache-search
# With two folders more, a checkpoint and one with retrained indexers, also how the engines load the latter.
# PYTHON: a Python 3.12 (SGLang's wheels want it). About 6 GB, most of it PyTorch; no GPU is needed.
set -euo pipefail
cd "$(dirname "$0")/../.."
tool=${1:?the program, such as build/dev/indexcache-search}
venv=build/interop

if [ ! -x "$venv/bin/python" ]; then
  "${PYTHON:-python3.12}" -m venv "$venv"
  "$venv/bin/pip" install -q torch==2.15.0 transformers==5.24.0 safetensors numpy h5py pyyaml \
    setuptools setuptools-scm wheel cmake ninja pybind11
  # What the engines import to read a configuration; they themselves come without dependencies.
  "$venv/bin/pip" install -q aiohttp apache-tvm-ffi cbor2 compressed-tensors dill gguf ipython msgspec openai \
    openai-harmony orjson pillow psutil pybase64 pyzmq requests sentencepiece starlette
  # What vLLM and SGLang import to read weights.
  "$venv/bin/pip" install -q cachetools cloudpickle einops fastapi llguidance partial-json-parser \
    prometheus-client py-cpuinfo uvloop xgrammar
  "$venv/bin/pip" install -q --no-deps torchvision vllm==0.33.0 sglang==0.5.23 lmdeploy==0.18.0
  COMPILE_CUSTOM_KERNELS=0 SOC_VERSION=ascend910b1 \
    "$venv/bin/pip" install -q --no-deps --no-build-isolation vllm-ascend==0.30.0rc2
fi
"$venv/bin/python" -W ignore tests/interop/check_transformers.py "$tool"
"$venv/bin/python" -W ignore tests/interop/check_distillation.py "$tool"
"$venv/bin/python" -W ignore tests/interop/check_engines.py "$tool"
if [ $# -eq 3 ]; then
  "$venv/bin/python" -W ignore tests/interop/check_distilled_folder.py "$2" "$3"
fi
