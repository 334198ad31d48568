#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Train a small language model with DeepSeek-V4's architecture and write it in the released names.

Three stages, as in ../dsa-mini/train_dsa.py, each limited by wall-clock seconds: layers of ratio 4
attend to all their entries; their indexers learn what the attention looks at, everything else
frozen; sparse training. Then, for every pattern, its loss in float32: the reference of tests.

    train_v4.py --corpus train.json.xz --out DIR

The corpus is that of ../dsa-mini/build_corpus.py, the tokenizer and the windows are dsa-mini's. Needs
PyTorch, tokenizers, safetensors, h5py and numpy; on a CPU only for trying it out.
"""
import argparse
import itertools
import json
import pathlib
import sys
import time

import h5py
import numpy as np
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "dsa-mini"))

from dsa_model import DEVICE  # noqa: E402
from train_dsa import (clip_and_step, encode, fraction_done, log, random_windows,  # noqa: E402
                       read_corpus, set_rate)
from v4_model import Model, Shape, block_step  # noqa: E402

WORKING = torch.bfloat16 if DEVICE == "cuda" else torch.float32
NOT_DECAYED = ("fn", "ape", "table")


def sweep(step, model, tokens, select, learn=False, dtype=WORKING):
    """Residual, loads and divergences after all layers."""
    x, loads, divergences = model.embed(tokens), [], []
    for block in model.blocks:
        x, load, divergence, _ = step(block, x, tokens, model.tables, select, dtype, None, learn)
        loads.append(load)
        if divergence is not None:
            divergences.append(divergence)
    return x, loads, divergences


def main_optimizer(model, rate):
    decayed, others = [], []
    for name, p in model.named_parameters():
        if ".indexer." not in name:
            matrix = p.dim() == 2 and not name.endswith(NOT_DECAYED)
            (decayed if matrix else others).append(p)
    groups = [{"params": decayed, "weight_decay": 0.05}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.95), fused=DEVICE == "cuda")


def train(model, data, args, stage, seconds, update, every=100):
    """Steps of `update(step, done, tokens) -> {name: value}` for some seconds after the first."""
    begin, step, done, values = None, 0, 0.0, {}
    while done < 1:
        values = update(step, done, random_windows(data, args.batch, model.shape.length))
        if step == 0:  # the first step compiles
            log(stage, "first step done", *(f"{k} {v.item():.4f}" for k, v in values.items()))
            begin = time.time()
        step += 1
        if step % every == 0:
            log(stage, step, *(f"{k} {v.item():.4f}" for k, v in values.items()))
        done = fraction_done(begin, seconds)
    log(stage, "ends after", step, "steps", *(f"{k} {v.item():.4f}" for k, v in values.items()))


def pretrain(model, data, args, step_of, optimizer):
    parameters = model.parameters_of(indexers=False)

    def update(step, done, tokens):
        x, loads, _ = sweep(step_of, model, tokens, "all")
        loss = model.loss(x, tokens, WORKING)
        loss.backward()
        decay = 1 if done < 0.55 else max(0.08, 1 - (done - 0.55) / 0.45 * 0.92)
        set_rate(optimizer, args.rate * min(1, (step + 1) / 200) * decay)
        clip_and_step(optimizer, parameters)
        model.balance(loads)
        return {"loss": loss}

    train(model, data, args, "dense", args.dense_seconds, update)


def warm_up_indexers(model, data, args, step_of, optimizer):
    parameters = model.parameters_of(indexers=True)
    frozen = model.parameters_of(indexers=False)
    for p in frozen:
        p.requires_grad_(False)

    def update(step, done, tokens):
        _, _, divergences = sweep(step_of, model, tokens, "all", learn=True)
        total = torch.stack(divergences).sum()
        total.backward()
        set_rate(optimizer, args.index_rate * min(1, (step + 1) / 50))
        clip_and_step(optimizer, parameters)
        return {"KL": total / len(divergences)}

    train(model, data, args, "warm-up", args.warm_up_seconds, update, every=50)
    for p in frozen:
        p.requires_grad_(True)


def train_sparse(model, data, args, step_of, main, indexers):
    of_main, of_indexers = model.parameters_of(False), model.parameters_of(True)

    def update(step, done, tokens):
        x, loads, divergences = sweep(step_of, model, tokens, "own", learn=True)
        loss, total = model.loss(x, tokens, WORKING), torch.stack(divergences).sum()
        (loss + total).backward()
        set_rate(main, args.rate * 0.08 * max(0.02, 1 - done))
        set_rate(indexers, args.index_rate * max(0.02, 1 - done))
        clip_and_step(main, of_main)
        clip_and_step(indexers, of_indexers)
        model.balance(loads)
        return {"loss": loss, "KL": total / len(divergences)}

    train(model, data, args, "sparse", args.sparse_seconds, update)


# ---------------------------------------------------------------------------------- reference


@torch.no_grad()
def evaluate(model, tokens, pattern, overlap=False):
    """Mean loss of a pattern in float32; with `overlap` also that of the layers' selections."""
    kinds, losses, overlaps = dict(zip(model.shape.selecting, pattern)), [], []
    for batch in tokens.split(8):
        x, selection, masks = model.embed(batch), None, []
        for layer, block in enumerate(model.blocks):
            select = "shared" if kinds.get(layer) == "S" else "own"
            x, _, _, own = block_step(block, x, batch, model.tables, select, torch.float32,
                                      selection)
            if own is not None:
                selection = own
                masks.append(own[:, 0])
        losses += [model.loss(x, batch, torch.float32).item()] * len(batch)
        if overlap:
            k = model.shape.index_topk
            chosen = torch.stack(masks).float()[:, :, 4 * k + 3:]
            common = torch.einsum("iqte,jqte->ij", chosen, chosen).double().cpu()
            overlaps += [common / (k * chosen.shape[1] * chosen.shape[2])] * len(batch)
    loss = float(np.mean(losses))
    return (loss, torch.stack(overlaps).mean(0).tolist()) if overlap else loss


def write_reference(model, calibration, heldout, out):
    """What the rounded weights give, for every pattern that begins with F."""
    torch.backends.cuda.matmul.allow_tf32 = False
    letters = len(model.shape.selecting)
    loss, overlap = evaluate(model, calibration, "F" * letters, overlap=True)
    report = {"calibration_full": loss, "overlap": overlap, "losses": {}}
    for rest in itertools.product("FS", repeat=letters - 1):
        pattern = "F" + "".join(rest)
        report["losses"][pattern] = {"calibration": evaluate(model, calibration, pattern),
                                     "heldout": evaluate(model, heldout, pattern)}
    (out / "reference.json").write_text(json.dumps(report, indent=1))
    worst = max(report["losses"].values(), key=lambda value: value["calibration"])
    log(f"calibration loss {loss:.5f}, with one indexer "
        f"{report['losses']['F' + 'S' * (letters - 1)]['calibration']:.5f}, worst "
        f"{worst['calibration']:.5f}")


# ------------------------------------------------------------------------------------- export


def entry_tensors(entries, prefix):
    return {prefix + "wkv.weight": entries.kv, prefix + "wgate.weight": entries.gate,
            prefix + "ape": entries.ape, prefix + "norm.weight": entries.norm}


def stream_tensors(streams, prefix):
    return {prefix + "fn": streams.fn, prefix + "base": streams.base,
            prefix + "scale": streams.scale}


def attention_tensors(attention, a):
    named = {a + "wq_a.weight": attention.q_a, a + "q_norm.weight": attention.q_norm,
             a + "wq_b.weight": attention.q_b, a + "wkv.weight": attention.kv,
             a + "kv_norm.weight": attention.kv_norm, a + "attn_sink": attention.sink,
             a + "wo_a.weight": attention.o_a, a + "wo_b.weight": attention.o_b}
    if attention.entries:
        named.update(entry_tensors(attention.entries, a + "compressor."))
    if attention.indexer:
        i = a + "indexer."
        named[i + "wq_b.weight"] = attention.indexer.q
        named[i + "weights_proj.weight"] = attention.indexer.w
        named.update(entry_tensors(attention.indexer.entries, i + "compressor."))
    return named


def expert_tensors(experts, f):
    width = experts.shape.expert_width
    named = {f + "gate.weight": experts.router, f + "shared_experts.w1.weight": experts.gate,
             f + "shared_experts.w3.weight": experts.up, f + "shared_experts.w2.weight": experts.down}
    if experts.hashed:
        named[f + "gate.tid2eid"] = experts.table
    else:
        named[f + "gate.bias"] = experts.correction
    for expert in range(experts.shape.experts):
        rows, prefix = slice(expert * width, (expert + 1) * width), f"{f}experts.{expert}."
        named[prefix + "w1.weight"] = experts.expert_gate[rows]
        named[prefix + "w3.weight"] = experts.expert_up[rows]
        named[prefix + "w2.weight"] = experts.expert_down[:, rows]
    return named


def checkpoint_tensors(model):
    """Released name -> tensor. Norms and matrices of the released checkpoint are BF16."""
    named = {"embed.weight": model.embedding, "head.weight": model.head,
             "norm.weight": model.norm, "hc_head_fn": model.head_fn,
             "hc_head_base": model.head_base, "hc_head_scale": model.head_scale}
    for layer, block in enumerate(model.blocks):
        p = f"layers.{layer}."
        named[p + "attn_norm.weight"] = block.input_norm
        named[p + "ffn_norm.weight"] = block.post_norm
        named.update(stream_tensors(block.attention_streams, p + "hc_attn_"))
        named.update(stream_tensors(block.mlp_streams, p + "hc_ffn_"))
        named.update(attention_tensors(block.attention, p + "attn."))
        named.update(expert_tensors(block.experts, p + "ffn."))
    return named


def round_weights(model):
    """Rounds in place what the checkpoint holds in BF16."""
    for name, value in checkpoint_tensors(model).items():
        if name.endswith(".weight"):
            value.data.copy_(value.data.bfloat16().float())


def config_json(s):
    return {
        "architectures": ["DeepseekV4ForCausalLM"], "model_type": "deepseek_v4",
        "attention_bias": False, "attention_dropout": 0.0, "bos_token_id": 0, "eos_token_id": 1,
        "compress_ratios": list(s.ratios), "compress_rope_theta": s.entry_theta, "hc_eps": s.eps,
        "hc_mult": s.streams, "hc_sinkhorn_iters": s.rounds, "head_dim": s.head_dim,
        "hidden_act": "silu", "hidden_size": s.hidden, "index_head_dim": s.index_dim,
        "index_n_heads": s.index_heads, "index_topk": s.index_topk, "initializer_range": 0.02,
        "max_position_embeddings": 4 * s.length, "moe_intermediate_size": s.expert_width,
        "n_routed_experts": s.experts, "n_shared_experts": 1, "norm_topk_prob": True,
        "num_attention_heads": s.heads, "num_experts_per_tok": s.experts_used,
        "num_hash_layers": s.hash_layers, "num_hidden_layers": len(s.ratios),
        "num_key_value_heads": 1, "num_nextn_predict_layers": 0, "o_groups": s.output_groups,
        "o_lora_rank": s.output_rank, "q_lora_rank": s.q_rank, "qk_rope_head_dim": s.rope,
        "rms_norm_eps": s.eps, "rope_theta": s.theta, "routed_scaling_factor": s.routed_scale,
        "scoring_func": "sqrtsoftplus", "sliding_window": s.window, "swiglu_limit": s.limit,
        "tie_word_embeddings": False, "topk_method": "noaux_tc", "torch_dtype": "bfloat16",
        "use_cache": True, "vocab_size": s.vocabulary}


def export(model, out):
    tensors = {}
    for name, value in sorted(checkpoint_tensors(model).items()):
        value = value.detach().cpu().contiguous().clone()
        tensors[name] = value.bfloat16() if name.endswith(".weight") else value
    save_file(tensors, out / "model.safetensors", metadata={"format": "pt"})
    (out / "config.json").write_text(json.dumps(config_json(model.shape), indent=1))
    log(f"{sum(t.nbytes for t in tensors.values()) / 1e6:.2f} MB of weights")


def read_windows(path, length):
    with h5py.File(path) as file:
        return torch.from_numpy(file["tokens"][:, :length].astype(np.int64)).to(DEVICE)


def without_copies(documents, unseen):
    """Documents that have less than a tenth of their text in common with the unseen ones."""
    def runs(ids, step):
        return {tuple(ids[first:first + 24]) for first in range(0, len(ids) - 24, step)}

    known = set().union(*(runs(ids, 1) for ids in unseen))
    kept = [ids for ids in documents
            if not (found := runs(ids.tolist(), 8)) or 10 * len(found & known) < len(found)]
    log(f"{len(kept)} documents to train on, {len(documents) - len(kept)} left out")
    return kept


def training_tokens(args, unseen):
    tokenizer = Tokenizer.from_file(str(args.tokenizer))
    documents = encode(tokenizer, read_corpus(args.corpus)[:args.documents])
    text = (HERE.parent / "dsa-mini" / "calibration.jsonl").read_text().splitlines()
    unseen = unseen + [ids.tolist() for ids in encode(
        tokenizer, [json.loads(line)["text"] for line in text])]
    return torch.from_numpy(np.concatenate(without_copies(documents, unseen))).to(DEVICE)


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--corpus", required=True)
    parser.add_argument("--tokenizer", default=HERE.parent / "dsa-mini" / "tokenizer.json")
    parser.add_argument("--calibration", default=HERE.parent / "dsa-mini" / "calibration.h5")
    parser.add_argument("--heldout", default=HERE.parent / "dsa-mini" / "heldout.h5")
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--dense-seconds", type=float, default=110)
    parser.add_argument("--warm-up-seconds", type=float, default=15)
    parser.add_argument("--sparse-seconds", type=float, default=45)
    parser.add_argument("--rate", type=float, default=4e-3)
    parser.add_argument("--index-rate", type=float, default=2e-3)
    parser.add_argument("--eager", action="store_true", help="without torch.compile")
    parser.add_argument("--documents", type=int, help="only the first of the corpus")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def main():
    args = parse_arguments()
    args.out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(args.seed)
    torch.backends.cuda.matmul.allow_tf32 = True
    torch._dynamo.config.suppress_errors = True  # what cannot be compiled runs as it is
    torch._dynamo.config.recompile_limit = 64
    shape = Shape()
    calibration, heldout = (read_windows(path, shape.length)
                            for path in (args.calibration, args.heldout))
    data = training_tokens(args, calibration.tolist() + heldout.tolist())
    model = Model(shape)
    log(f"{len(data) / 1e6:.1f} M tokens, {sum(p.numel() for p in model.parameters()) / 1e6:.2f} M "
        f"parameters, {len(calibration)} and {len(heldout)} windows")
    step_of = block_step if args.eager else torch.compile(block_step)
    main_steps = main_optimizer(model, args.rate)
    index_steps = torch.optim.AdamW(model.parameters_of(True), lr=args.index_rate,
                                    betas=(0.9, 0.95), weight_decay=0.0, fused=DEVICE == "cuda")
    pretrain(model, data, args, step_of, main_steps)
    warm_up_indexers(model, data, args, block_step, index_steps)
    train_sparse(model, data, args, step_of, main_steps, index_steps)
    round_weights(model)
    export(model, args.out)
    write_reference(model, calibration, heldout, args.out)
    log("done")


if __name__ == "__main__":
    main()
