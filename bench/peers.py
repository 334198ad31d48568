#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Times public kernels and ours in one run on one card: bench/peers.py --tool PROGRAM --peers DIR ...

The public kernels come from packages of PyPI that carry kernels for Hopper. They are referees of this
benchmark, never dependencies of the program. Each DIR is a folder with one or more unpacked packages:

    pip install --no-deps --only-binary=:all: --python-version 3.12 --target DIR NAME==VERSION

    tokenspeed-deepgemm==2.5.0.post20260629       DeepGEMM: indexer logits, products of experts
    sgl-flash-mla==1.0.0                          FlashMLA: sparse attention
    tokenspeed-flashmla==1.0.0.post20260810       FlashMLA as well, instead of the former

A package that is missing is skipped; dense attention is compared with that of PyTorch. PyTorch with
CUDA 13 and NumPy must be installed, and nvcc, with which DeepGEMM compiles its kernels at run time
(CUDA_HOME, or nvcc on the PATH; DG_JIT_CACHE_DIR keeps what it compiled). If space is short, most of an
unpacked package may be deleted: debug information (`strip *.so`) and all headers of DeepGEMM outside
include/deep_gemm that `nvcc -M -x cu -std=c++20 -arch sm_90a -I include` does not list for
include/deep_gemm/impls/sm90_{fp8_mqa_logits,bf16_gemm,fp8_gemm_1d2d}.cuh. That leaves 7 MiB of each
package.

Every kernel is timed alternately, theirs and ours, `--rounds` times. Times are medians of CUDA events;
the ratio is our speed divided by theirs. Figures marked * were not measured in this run: the packages
of vLLM, whose top-k is the fastest public one, are too large to take along. First of all, the public
kernels are compared with PyTorch in float32 on small inputs; the exit code is 1 if one differs,
fails, or none was there. Ours are checked by ctest -L gpu.
"""
import argparse
import importlib
import json
import os
import pathlib
import re
import statistics
import subprocess
import sys
import tempfile

import numpy
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

ROOT = pathlib.Path(__file__).resolve().parents[1]
DEVICE = "cuda"
INDEX_DIM, LATENT, VALUE, TOP_K = 128, 576, 512, 2048
# Indexer heads, context, the last rows of it
SELECTIONS = [(32, 32768, 30720), (64, 32768, 30720), (32, 131072, 8192), (64, 131072, 8192),
              (32, 131072, 2048)]
ATTENTION_CONTEXT, ATTENTION_ROWS = 32768, 8192
ATTENTION_HEADS, ATTENTION_SHARES = (64, 128, 20), (0, 85)
DENSE_WIDTH, DENSE = 256, [(64, 8192), (64, 32768), (20, 32768)]  # heads, context
# Best public top-2048 by context and rows: measured once, with vLLM 0.33.0 (persistent_topk) and 0.26.0
# (per_row_prefill), CUDA 13.0 and PyTorch 2.11 on an H100 80GB HBM3, whose copies move 3.0 TB/s.
GIVEN_ON = "an H100"
GIVEN_TOP_K = {(32768, 30720): ("vLLM 0.33", 1.88), (131072, 2048): ("vLLM 0.33", 0.550),
               (131072, 8192): ("vLLM 0.26", 2.91)}
EXPERTS_SHAPE = "configs/deepseek-v3.2.yaml"
EXPERTS, CHOSEN, EXPERTS_ROWS, HIDDEN, MIDDLE, SCALED = 256, 8, 16384, 7168, 2048, 128  # a scale: 128
LOGITS_ERROR, RESULT_ERROR = 5e-3, 1e-2  # of FP8 products, of results in bf16


def milliseconds(run, repeat):
    for _ in range(3):
        run()
    events = [[torch.cuda.Event(enable_timing=True) for _ in range(2)] for _ in range(repeat)]
    for begin, end in events:
        begin.record()
        run()
        end.record()
    torch.cuda.synchronize()
    return statistics.median(begin.elapsed_time(end) for begin, end in events)


def shared_sets(context, rows, k, share):
    """Ascending sets of the last rows; each shares `share` percent with the one before, as in bench ops."""
    generator = numpy.random.default_rng(7)
    members, chosen = numpy.empty(0, numpy.int32), numpy.zeros(context, bool)
    sets = numpy.empty((rows, k), numpy.int32)
    for row in range(rows):
        candidates = context - rows + row + 1
        members = generator.permutation(members)[:k * share // 100]
        chosen[:] = False
        chosen[members] = True
        while len(members) < k:
            added = numpy.unique(generator.integers(candidates, size=k - len(members), dtype=numpy.int32))
            added = added[~chosen[added]]
            chosen[added] = True
            members = numpy.concatenate([members, added])
        sets[row] = numpy.sort(members)
    return torch.from_numpy(sets).to(DEVICE)


def relative_error(result, expected):
    result, expected = result.double(), expected.double()
    return ((result - expected).norm() / expected.norm()).item()


class DeepGemm:
    """fp8_mqa_logits: logits[m, n] = key_scale[n] * sum over heads of weight[m, h] * relu(q[m, h] . k[n])."""
    name, package = "DeepGEMM", "deep_gemm"

    def __init__(self, module):
        self.module = module
        self.version = module.__version__

    def inputs(self, heads, context, rows):
        queries = torch.randn(rows, heads, INDEX_DIM, device=DEVICE, dtype=torch.bfloat16)
        keys = torch.randn(context, INDEX_DIM, device=DEVICE)
        scales = keys.abs().amax(1) / 448
        ends = torch.arange(context - rows + 1, context + 1, device=DEVICE, dtype=torch.int32)
        return {"q": queries.to(torch.float8_e4m3fn),
                "kv": ((keys / scales[:, None]).to(torch.float8_e4m3fn), scales.contiguous()),
                "weights": torch.randn(rows, heads, device=DEVICE),
                "cu_seq_len_k_start": torch.zeros_like(ends), "cu_seq_len_k_end": ends}

    def run(self, inputs):
        return self.module.fp8_mqa_logits(**inputs, clean_logits=False)

    def check(self):
        for heads in (32, 64):
            context, rows = 1024, 192
            inputs = self.inputs(heads, context, rows)
            keys, scales = inputs["kv"]
            scores = torch.einsum("mhd,nd->mhn", inputs["q"].float(), keys.float()).relu()
            expected = torch.einsum("mhn,mh->mn", scores, inputs["weights"]) * scales
            valid = torch.arange(context, device=DEVICE) < inputs["cu_seq_len_k_end"][:, None]
            error = relative_error(self.run(inputs)[valid], expected[valid])
            yield f"{heads} heads, {rows} of {context}", error, LOGITS_ERROR


class GroupedDeepGemm:
    """m_grouped_*_gemm_nt_contiguous: rows of each group, from a multiple of 128 on, times its matrix."""
    name, package = "DeepGEMM", "deep_gemm"

    def __init__(self, module):
        self.module = module
        self.version = module.__version__

    def groups(self, counts):
        """Of every row its group, or -1 where there is no row."""
        alignment = self.module.get_mk_alignment_for_contiguous_layout()
        groups = []
        for group, count in enumerate(counts):
            groups += [group] * count + [-1] * (-count % alignment)
        return torch.tensor(groups, dtype=torch.int32, device=DEVICE)

    def inputs(self, precision, groups, count, cols, depth):
        """x [rows, depth] and weights [count, cols, depth] in bf16, or in e4m3 with their scales."""
        rows = len(groups)
        out = torch.empty(rows, cols, device=DEVICE, dtype=torch.bfloat16)
        if precision == "bf16":
            x = torch.randn(rows, depth, device=DEVICE, dtype=torch.bfloat16)
            weights = torch.randn(count, cols, depth, device=DEVICE, dtype=torch.bfloat16)
            return {"a": x, "b": weights, "d": out, "grouped_layout": groups}

        def quantized(*sizes):
            return torch.cat([(60 * torch.randn(1, *sizes[1:], device=DEVICE)).clamp(-448, 448)
                              .to(torch.float8_e4m3fn) for _ in range(sizes[0])])
        x, weights = quantized(1, rows, depth)[0], quantized(count, cols, depth)
        x_scales = torch.rand(rows, depth // SCALED, device=DEVICE) + 0.5
        scales = torch.rand(count, cols // SCALED, depth // SCALED, device=DEVICE) + 0.5
        return {"a": (x, self.module.get_mn_major_tma_aligned_tensor(x_scales)),
                "b": (weights, scales), "d": out, "grouped_layout": groups}

    def run(self, precision, inputs):
        getattr(self.module, f"m_grouped_{precision}_gemm_nt_contiguous")(
            inputs["a"], inputs["b"], inputs["d"], inputs["grouped_layout"])
        return inputs["d"]

    def check(self):
        counts, cols, depth = [70, 0, 129, 256], 384, 512
        for precision in ("bf16", "fp8"):
            groups = self.groups(counts)
            inputs = self.inputs(precision, groups, len(counts), cols, depth)
            x, weights = inputs["a"], inputs["b"]
            if precision == "fp8":
                x = x[0].float() * x[1].repeat_interleave(SCALED, 1)
                scales = weights[1].repeat_interleave(SCALED, 1).repeat_interleave(SCALED, 2)
                weights = weights[0].float() * scales
            present = groups >= 0
            expected = torch.einsum("rd,rcd->rc", x[present].float(),
                                    weights.float()[groups[present].long()])
            error = relative_error(self.run(precision, inputs)[present], expected)
            yield f"{precision}, {counts} rows x {depth} -> {cols}", error, RESULT_ERROR


class FlashMla:
    """flash_mla_sparse_fwd: attention of queries [m, h, 576] over the keys [n, 1, 576] in sets [m, 1, k]."""
    name, package = "FlashMLA", "flash_mla"

    def __init__(self, module):
        self.module = module
        self.version = module.__version__
        self.options = {}
        if hasattr(module, "has_legacy"):  # sgl-flash-mla, where Hopper is legacy
            if not module.has_legacy():
                raise ImportError("its kernels for Hopper (_C_legacy) cannot be loaded")
            self.options = {"use_legacy": True, "return_log2_lse": False}

    def inputs(self, heads, context, sets):
        queries = torch.randn(len(sets), heads, LATENT, device=DEVICE, dtype=torch.bfloat16)
        return {"q": queries,
                "kv": torch.randn(context, 1, LATENT, device=DEVICE, dtype=torch.bfloat16),
                "indices": sets[:, None].contiguous(), "sm_scale": LATENT ** -0.5}

    def run(self, inputs):
        return self.module.flash_mla_sparse_fwd(**inputs, **self.options)[0]

    def padded(self, heads, inputs):
        """The same from queries of `heads` heads, padded to the heads of `inputs`, and back."""
        queries = inputs["q"][:, :heads].contiguous()
        wide = inputs["q"].shape[1]

        def run():
            padded = torch.nn.functional.pad(queries, (0, 0, 0, wide - heads))
            return self.run({**inputs, "q": padded})[:, :heads].contiguous()
        return run

    def check(self):
        for heads in (64, 128):
            context, rows, k = 1024, 64, 256
            inputs = self.inputs(heads, context, shared_sets(context, rows, k, 50))
            keys = inputs["kv"][:, 0].float()[inputs["indices"][:, 0].long()]
            scores = torch.einsum("mhd,mkd->mhk", inputs["q"].float(), keys) * inputs["sm_scale"]
            expected = torch.einsum("mhk,mkv->mhv", scores.softmax(-1), keys[..., :VALUE])
            error = relative_error(self.run(inputs), expected)
            yield f"{heads} heads, {rows} of {context}, k {k}", error, RESULT_ERROR


class Sdpa:
    """scaled_dot_product_attention, causal, of queries, keys and values [1, h, n, 256] each."""
    name, package = "SDPA", "torch"
    backends = (SDPBackend.FLASH_ATTENTION, SDPBackend.CUDNN_ATTENTION)

    def __init__(self, module):
        self.module = module
        self.version = module.__version__

    def inputs(self, heads, context):
        return [torch.randn(1, heads, context, DENSE_WIDTH, device=DEVICE, dtype=torch.bfloat16)
                for _ in range(3)]

    def run(self, inputs, backend):
        with sdpa_kernel(backend):
            return torch.nn.functional.scaled_dot_product_attention(*inputs, is_causal=True)

    def check(self):
        heads, context = 4, 512
        queries, keys, values = inputs = self.inputs(heads, context)
        scores = queries.float() @ keys.float().mT * DENSE_WIDTH ** -0.5
        later = torch.ones(context, context, device=DEVICE, dtype=torch.bool).triu(1)
        expected = scores.masked_fill(later, float("-inf")).softmax(-1) @ values.float()
        for backend in self.backends:
            error = relative_error(self.run(inputs, backend), expected)
            yield f"{backend.name}, {heads} heads, {context} tokens", error, RESULT_ERROR


def load(kind, folders):
    """The public kernel, or None after a line that says why."""
    if kind.package == "torch":
        return kind(torch)
    for folder in folders:
        if (folder / kind.package / "__init__.py").exists():
            sys.path.insert(0, str(folder))
            try:
                return kind(importlib.import_module(kind.package))
            except Exception as error:  # of the loader, of CUDA, of the package's own checks
                print(f"skipped: {kind.name}: {folder / kind.package} cannot be loaded: {error}")
                return None
    print(f"skipped: {kind.name}: no {kind.package}/ in {', '.join(map(str, folders))}")
    return None


class Ours:
    def __init__(self, tool, repeat, folder):
        self.tool, self.repeat, self.folder = tool, repeat, folder

    def shape_file(self, index_heads, heads):
        """dsa-30b with other numbers of heads and few weights, which these kernels do not use."""
        text = (ROOT / "configs/dsa-30b.yaml").read_text()
        for key, value in {"index_n_heads": index_heads, "num_attention_heads": heads,
                           "num_key_value_heads": heads, "num_hidden_layers": 2,
                           "vocab_size": 4096, "n_routed_experts": 8}.items():
            text = re.sub(rf"^  {key}: .*$", f"  {key}: {value}", text, flags=re.M)
        path = self.folder / f"heads-{index_heads}-{heads}.yaml"
        path.write_text(text)
        return path

    def operations(self, group, index_heads, heads, context, rows, share=0, indexer="exact"):
        """Milliseconds by operation."""
        return self.bench(self.shape_file(index_heads, heads), "--context", context, "--rows", rows,
                          "--only", group, "--shared", share, "--precision", "bf16",
                          "--indexer-precision", "fp8", "--indexer", indexer)

    def bench(self, shape, *options):
        command = [self.tool, "bench", "ops", "--synthetic", shape, "--device", DEVICE,
                   "--repeat", self.repeat, "--json", *options]
        result = subprocess.run(list(map(str, command)), capture_output=True, text=True)
        if result.returncode != 0:
            sys.exit(f"{' '.join(map(str, command))}: exit code {result.returncode}\n{result.stderr}")
        return {op["name"]: op["milliseconds"] for op in json.loads(result.stdout)["ops"]}


class Table:
    def __init__(self):
        self.rows = []
        print(f"\n{'kernel':<52} {'public':<22} {'ms':>8} {'TFLOP/s':>8}   {'ours ms':>8} {'TFLOP/s':>8}"
              f"   ours / public")

    def add(self, kernel, public, theirs, ours, flop=0, given=False):
        def rate(time):
            return f"{flop / time * 1e-9:8.0f}" if flop else " " * 8
        mark = "*" if given else " "
        print(f"{kernel:<52} {public:<22} {theirs:8.3f}{mark}{rate(theirs)}   {ours:8.3f} {rate(ours)}"
              f"   {theirs / ours:8.2f}", flush=True)
        self.rows.append({"kernel": kernel, "public": public, "public_ms": theirs, "ours_ms": ours,
                          "ratio": theirs / ours, "given": given})


def alternate(theirs, ours, arguments):
    """Medians over the rounds: of their time and of each of our operations."""
    their_times, our_times = [], []
    for _ in range(arguments.rounds):
        their_times.append(milliseconds(theirs, arguments.repeat))
        torch.cuda.empty_cache()
        our_times.append(ours())
    return (statistics.median(their_times),
            {name: statistics.median(times[name] for times in our_times) for name in our_times[0]})


def selections(peer, ours, table, arguments):
    for heads, context, rows in SELECTIONS:
        inputs = peer.inputs(heads, context, rows)
        theirs, mine = alternate(lambda: peer.run(inputs),
                                 lambda: ours.operations("selection", heads, 64, context, rows),
                                 arguments)
        shape = f"{heads} heads, {rows:,} of {context:,}"
        flop = 2 * inputs["cu_seq_len_k_end"].long().sum().item() * heads * INDEX_DIM
        table.add(f"indexer logits, {shape}", peer.name, theirs, mine["indexer logits"], flop)
        public, top_k = GIVEN_TOP_K[context, rows]
        table.add(f"top-k, {rows:,} of {context:,}, k {TOP_K:,}", public, top_k, mine["top-k"], given=True)
        table.add(f"logits + top-k, {shape}", f"{peer.name} + {public}", theirs + top_k,
                  mine["logits + top-k"], given=True)


def experts(peer, ours, table, arguments):
    """Only the products of theirs; ours is everything, from routed rows to their sums."""
    chosen = torch.rand(EXPERTS_ROWS, EXPERTS, device=DEVICE).topk(CHOSEN).indices.flatten()
    groups = peer.groups(torch.bincount(chosen, minlength=EXPERTS).tolist())
    flop = 2 * EXPERTS_ROWS * CHOSEN * 3 * MIDDLE * HIDDEN
    for precision in ("bf16", "fp8"):
        both = peer.inputs(precision, groups, EXPERTS, 2 * MIDDLE, HIDDEN)
        down = peer.inputs(precision, groups, EXPERTS, HIDDEN, MIDDLE)

        def products():
            peer.run(precision, both)
            peer.run(precision, down)
        theirs, mine = alternate(
            products, lambda: ours.bench(ROOT / EXPERTS_SHAPE, "--only", "experts", "--precision", precision),
            arguments)
        table.add(f"experts of DeepSeek-V3.2, {precision}, {EXPERTS_ROWS:,} rows",
                  f"{peer.name}, products", theirs, mine["experts"], flop)


def attentions(peer, ours, table, arguments):
    for share in ATTENTION_SHARES:
        sets = shared_sets(ATTENTION_CONTEXT, ATTENTION_ROWS, TOP_K, share)
        for heads in ATTENTION_HEADS:
            wide = (heads + 63) // 64 * 64
            inputs = peer.inputs(wide, ATTENTION_CONTEXT, sets)
            inputs["q"][:, heads:] = 0
            theirs, mine = alternate(
                lambda: peer.run(inputs),
                lambda: ours.operations("attention", 32, heads, ATTENTION_CONTEXT, ATTENTION_ROWS, share),
                arguments)
            kernel = f"sparse MLA, {heads} heads, {f'{share}% shared' if share else 'random'} sets"
            flop = 2 * ATTENTION_ROWS * TOP_K * heads * (LATENT + VALUE)
            padding = "" if wide == heads else f", {wide} heads"
            table.add(kernel, peer.name + padding, theirs, mine["sparse attention"], flop)
            if padding:
                whole = milliseconds(peer.padded(heads, inputs), arguments.repeat)
                table.add(kernel, f"{peer.name}, pad and slice", whole, mine["sparse attention"], flop)


def dense_attentions(peer, ours, table, arguments):
    for heads, context in DENSE:
        inputs = peer.inputs(heads, context)
        flop = heads * 2 * DENSE_WIDTH * context * (context + 1)
        for backend in peer.backends:
            theirs, mine = alternate(
                lambda: peer.run(inputs, backend),
                lambda: ours.operations("dense", 32, heads, context, 0, indexer="none"), arguments)
            table.add(f"dense attention, {heads} heads of {DENSE_WIDTH}, {context:,} tokens",
                      f"{peer.name} {backend.name.split('_')[0]}", theirs, mine["dense attention"],
                      flop)


def check(peer, checks):
    """Prints and records how far the public kernel is from PyTorch; False if too far."""
    good = True
    for shape, error, limit in peer.check():
        right = error < limit  # not so for NaN
        good = good and right
        print(f"check: {peer.name}, {shape}: relative error {error:.1e} against PyTorch in float32: "
              f"{'ok' if right else f'DIFFERS, more than {limit:g}'}", flush=True)
        checks.append({"public": peer.name, "shape": shape, "error": error, "limit": limit})
    return good


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tool", required=True, help="the program indexcache-search")
    parser.add_argument("--peers", required=True, nargs="+", type=pathlib.Path, metavar="DIR")
    parser.add_argument("--repeat", type=int, default=11, help="runs per median (%(default)s)")
    parser.add_argument("--rounds", type=int, default=2, help="alternations (%(default)s)")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="also write the figures here")
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        sys.exit("error: PyTorch finds no GPU")
    torch.manual_seed(7)
    sys.dont_write_bytecode = True
    with tempfile.TemporaryDirectory() as folder:
        os.environ.setdefault("DG_JIT_CACHE_DIR", folder)
        ours = Ours(arguments.tool, arguments.repeat, pathlib.Path(folder))
        return compare(ours, arguments)


def compare(ours, arguments):
    document = {"device": torch.cuda.get_device_name(),
                "torch": torch.__version__, "peers": {}, "checks": [], "kernels": []}
    print(f"{document['device']}, PyTorch {document['torch']}, {arguments.rounds} rounds of "
          f"{arguments.repeat} runs")
    good, comparisons = True, []
    for kind, comparison in ((DeepGemm, selections), (GroupedDeepGemm, experts),
                             (FlashMla, attentions), (Sdpa, dense_attentions)):
        peer = load(kind, arguments.peers)
        if peer is None:
            continue
        document["peers"][peer.name] = peer.version
        print(f"{peer.name} {peer.version} from {pathlib.Path(peer.module.__file__).parent}")
        comparisons.append((peer, comparison))
    for peer, comparison in list(comparisons):
        try:
            good = check(peer, document["checks"]) and good
        except Exception as error:  # of compilation or launch
            print(f"failed: {peer.name}: {error}")
            comparisons.remove((peer, comparison))
            good = False
    print("check: ours: not here, by ctest -L gpu (tests/cuda)")
    table = Table()
    for peer, comparison in comparisons:
        try:
            comparison(peer, ours, table, arguments)
        except RuntimeError as error:
            print(f"failed: {peer.name}: {error}")
            good = False
    if any(row["given"] for row in table.rows):
        print(f"* the public top-k was not measured here: its figure was measured on {GIVEN_ON}")
    document["kernels"] = table.rows
    if arguments.json:
        arguments.json.write_text(json.dumps(document, indent=1) + "\n")
    if not table.rows:
        print("nothing was measured")
    return 0 if good and table.rows else 1


if __name__ == "__main__":
    sys.exit(main())
