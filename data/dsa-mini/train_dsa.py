#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Train a small language model with DeepSeek Sparse Attention and write a Hugging Face checkpoint.

Three stages, as DeepSeek-V3.2's report describes them, each limited by wall-clock seconds:
dense pre-training; indexer warm-up (everything else frozen, KL to the head-averaged attention);
sparse training (attention limited to the indexer's top-k; language loss for the model, KL over the
selected tokens for the indexers). Then the reference results: overlap and the full greedy search.

    train_dsa.py --corpus train.json.xz --heldout heldout.json.xz --out DIR

Corpora are JSON lists of [source, path, text], xz-compressed (build_corpus.py). Needs a CUDA GPU,
PyTorch, tokenizers, safetensors and numpy. The defaults made data/dsa-mini on one H200.
"""
import argparse
import dataclasses
import json
import lzma
import pathlib
import time

import numpy as np
import torch
from dsa_model import DEVICE, Block, Model, Shape, kl, sparse_block
from safetensors.torch import save_file
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import nn

BOS, EOS, PAD = "<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜▁pad▁｜>"
START = time.time()


def log(*values):
    print(f"[{time.time() - START:6.1f}s]", *values, flush=True)


# ------------------------------------------------------------------------------------- tokens


def read_corpus(path):
    return [text for _, _, text in json.loads(lzma.open(path).read())]


def train_tokenizer(texts, vocabulary):
    """Byte-level BPE with the pre-tokenizer of DeepSeek-V3."""
    punctuation = r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+"""
    words = (r"|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*"
             r"|\s*[\r\n]+|\s+(?!\S)|\s+")
    splits = [r"\p{N}{1,3}", "[一-龥぀-ゟ゠-ヿ]+", punctuation + words]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(pattern), "isolated") for pattern in splits]
        + [pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary, special_tokens=[BOS, EOS, PAD],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False)
    tokenizer.train_from_iterator([text[:20000] for text in texts[::3]], trainer)
    return tokenizer


def encode(tokenizer, texts):
    """One array of BOS, text, EOS a document."""
    documents = []
    for first in range(0, len(texts), 2000):
        for encoding in tokenizer.encode_batch(texts[first:first + 2000]):
            documents.append(np.array([0] + encoding.ids + [1], dtype=np.int32))
    return documents


def random_windows(data, count, length):
    starts = torch.randint(0, len(data) - length - 1, (count,), device=DEVICE)
    tokens = data[starts[:, None] + torch.arange(length, device=DEVICE)].long()
    tokens[:, 0] = 0
    return tokens


# ------------------------------------------------------------------------------------- stages


def fraction_done(begin, seconds):
    return min((time.time() - begin) / seconds, 1.0)


def set_rate(optimizer, rate):
    for group in optimizer.param_groups:
        group["lr"] = rate


def clip_and_step(optimizer, parameters):
    nn.utils.clip_grad_norm_(parameters, 1.0)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


def pretrain_dense(model, data, args):
    parameters = model.main_parameters()
    groups = [{"params": [p for p in parameters if p.dim() == 2], "weight_decay": 0.05},
              {"params": [p for p in parameters if p.dim() < 2], "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=args.rate, betas=(0.9, 0.95), fused=True)
    forward = torch.compile(Block.forward_dense)
    step, begin, done = 0, None, 0.0
    while done < 1:
        tokens = random_windows(data, args.batch, model.shape.length)
        x, loads = model.embed(tokens), []
        for block in model.blocks:
            x, load = forward(block, x, model.cos, model.sin)
            loads.append(load)
        loss = model.loss(x, tokens)
        loss.backward()
        begin = begin or time.time()  # the first step compiles
        done = fraction_done(begin, args.dense_seconds)
        decay = 1 if done < 0.55 else max(0.08, 1 - (done - 0.55) / 0.45 * 0.92)
        set_rate(optimizer, args.rate * min(1, (step + 1) / 200) * decay)
        clip_and_step(optimizer, parameters)
        model.balance(loads)
        step += 1
        if step % 200 == 0:
            log("dense", step, f"loss {loss.item():.4f}")
    return optimizer


def warm_up_indexers(model, data, args):
    parameters = model.indexer_parameters()
    optimizer = torch.optim.AdamW(parameters, lr=2e-3, betas=(0.9, 0.95), weight_decay=0.0,
                                  fused=True)
    step, begin = 0, time.time()
    while fraction_done(begin, args.warm_up_seconds) < 1:
        x, total = model.embed(random_windows(data, args.sparse_batch, model.shape.length)), 0.0
        for block in model.blocks:
            with torch.no_grad():
                h, latent, q, k, v = block.project(x, model.cos, model.sin)
                attention = model.attention(q, k, model.causal == 0)
                target = attention.mean(1)
                x, _ = block.finish(x, attention.to(torch.bfloat16) @ v)
            scores = block.index_scores(h, latent, model.cos, model.sin) + model.causal
            divergence = kl(target, torch.log_softmax(scores, -1))
            divergence.backward()
            total += divergence.item()
        set_rate(optimizer, 2e-3 * min(1, (step + 1) / 50))
        clip_and_step(optimizer, parameters)
        step += 1
        if step % 50 == 0:
            log("warm-up", step, f"KL {total / len(model.blocks):.4f}")
    return optimizer


def train_sparse(model, data, args, main, indexers):
    forward = torch.compile(sparse_block)
    step, begin, done = 0, time.time(), 0.0
    while done < 1:
        tokens = random_windows(data, args.sparse_batch, model.shape.length)
        x, loads, divergences = model.embed(tokens), [], []
        for block in model.blocks:
            x, load, divergence, _ = forward(model, block, x, None, True)
            loads.append(load)
            divergences.append(divergence)
        loss = model.loss(x, tokens)
        (loss + torch.stack(divergences).sum()).backward()
        done = fraction_done(begin, args.sparse_seconds)
        set_rate(main, args.rate * 0.08 * max(0.02, 1 - done))
        set_rate(indexers, 2e-3 * max(0.02, 1 - done))
        clip_and_step(main, model.main_parameters())
        clip_and_step(indexers, model.indexer_parameters())
        model.balance(loads)
        step += 1
        if step % 50 == 0:
            log("sparse", step, f"loss {loss.item():.4f}")


# ---------------------------------------------------------------------------------- reference


@torch.no_grad()
def evaluate(model, tokens, pattern, overlap=False):
    """Mean loss of a pattern in float32; with `overlap` also the [L, L] overlap of selections."""
    losses, overlaps = [], []
    for batch in tokens.split(4):
        x, selection, masks = model.embed(batch, torch.float32), None, []
        for block, kind in zip(model.blocks, pattern):
            x, _, _, selection = sparse_block(model, block, x, None if kind == "F" else selection)
            masks.append(selection)
        losses += [model.loss(x, batch).item()] * len(batch)
        if overlap:
            chosen = torch.stack(masks).float()[:, :, model.shape.index_topk:]
            common = torch.einsum("iqts,jqts->ij", chosen, chosen).double().cpu()
            overlaps.append(common / (model.shape.index_topk * chosen.shape[1] * chosen.shape[2]))
    return (np.mean(losses), torch.stack(overlaps).mean(0)) if overlap else np.mean(losses)


def greedy_trace(model, tokens, remaining):
    """Every step down to `remaining` full layers, with every candidate's loss."""
    pattern, trace = "F" * model.shape.layers, []
    while pattern.count("F") > remaining:
        tried = {i: pattern[:i] + "S" + pattern[i + 1:]
                 for i in range(1, len(pattern)) if pattern[i] == "F"}
        losses = {i: evaluate(model, tokens, tried[i]) for i in tried}
        flip = min(losses, key=losses.get)
        pattern = tried[flip]
        trace.append({"flip": flip, "loss": losses[flip], "losses": losses, "pattern": pattern})
        log("greedy", len(trace), pattern, f"{losses[flip]:.5f}")
    return trace


def write_reference(model, calibration, heldout, out):
    for parameter in model.parameters():  # what the exported bfloat16 weights will hold
        parameter.data = parameter.data.bfloat16().float()
    torch.backends.cuda.matmul.allow_tf32 = False
    layers = model.shape.layers
    full, overlap = evaluate(model, calibration, "F" * layers, overlap=True)
    np.save(out / "overlap.npy", overlap.numpy())
    trace = greedy_trace(model, calibration, max(2, layers // 8))
    report = {"calib_full": full, "heldout_full": evaluate(model, heldout, "F" * layers),
              "trace": trace, "heldout": {}}
    for ratio in (2, 4, 8):
        uniform = "".join("F" if i % ratio == 0 else "S" for i in range(layers))
        greedy = next((step["pattern"] for step in trace
                       if step["pattern"].count("F") == layers // ratio), None)
        for name, pattern in (("uniform", uniform), ("greedy", greedy)):
            if pattern:
                report["heldout"][f"{name}_1/{ratio}"] = {
                    "pattern": pattern, "loss": evaluate(model, heldout, pattern)}
    (out / "reference_search.json").write_text(json.dumps(report, indent=1))
    windows = {"calibration": calibration.tolist(), "heldout": heldout.tolist()}
    (out / "windows.json").write_text(json.dumps(windows))


# ------------------------------------------------------------------------------------- export


def block_tensors(block, layer):
    """Checkpoint name -> parameter of one layer."""
    p, s = f"model.layers.{layer}.", block.shape
    attention, mlp = p + "self_attn.", p + "mlp."
    named = {p + "input_layernorm.weight": block.input_norm,
             p + "post_attention_layernorm.weight": block.post_norm}
    for name, value in {
            "q_a_proj": block.q_a, "q_a_layernorm": block.q_norm, "q_b_proj": block.q_b,
            "kv_a_proj_with_mqa": block.kv_a, "kv_a_layernorm": block.kv_norm,
            "kv_b_proj": block.kv_b, "o_proj": block.o, "indexer.wq_b": block.index_q,
            "indexer.wk": block.index_k, "indexer.k_norm": block.index_norm,
            "indexer.weights_proj": block.index_w}.items():
        named[attention + name + ".weight"] = value
    named[attention + "indexer.k_norm.bias"] = block.index_bias
    shared = mlp if block.dense else mlp + "shared_experts."
    for name, value in (("gate", block.gate), ("up", block.up), ("down", block.down)):
        named[f"{shared}{name}_proj.weight"] = value
    if block.dense:
        return named
    named[mlp + "gate.weight"] = block.router
    named[mlp + "gate.e_score_correction_bias"] = block.correction
    for expert in range(s.experts):
        rows = slice(expert * s.expert_width, (expert + 1) * s.expert_width)
        prefix = f"{mlp}experts.{expert}."
        named[prefix + "gate_proj.weight"] = block.expert_gate[rows]
        named[prefix + "up_proj.weight"] = block.expert_up[rows]
        named[prefix + "down_proj.weight"] = block.expert_down[:, rows]
    return named


def config_json(s):
    return {
        "architectures": ["GlmMoeDsaForCausalLM" if s.glm else "DeepseekV32ForCausalLM"],
        "model_type": s.family, "vocab_size": s.vocabulary, "hidden_size": s.hidden,
        "intermediate_size": s.dense_width, "moe_intermediate_size": s.expert_width,
        "num_hidden_layers": s.layers, "num_attention_heads": s.heads,
        "num_key_value_heads": s.heads, "n_shared_experts": 1, "n_routed_experts": s.experts,
        "routed_scaling_factor": s.routed_scale, "kv_lora_rank": s.kv_rank,
        "q_lora_rank": s.q_rank, "qk_rope_head_dim": s.rope, "v_head_dim": s.value,
        "qk_nope_head_dim": s.nope, "n_group": s.groups, "topk_group": s.kept_groups,
        "num_experts_per_tok": s.experts_used, "norm_topk_prob": True, "hidden_act": "silu",
        "scoring_func": "sigmoid", "topk_method": "noaux_tc",
        "max_position_embeddings": 4 * s.length, "initializer_range": 0.02,
        "rms_norm_eps": s.eps, "use_cache": True, "bos_token_id": 0, "eos_token_id": 1,
        "pad_token_id": 2, "tie_word_embeddings": False, "rope_theta": s.theta,
        "attention_bias": False, "attention_dropout": 0.0, "first_k_dense_replace": 1,
        "moe_layer_freq": 1, "ep_size": 1, "num_nextn_predict_layers": 0,
        "index_topk": s.index_topk, "index_head_dim": s.index_dim,
        "index_n_heads": s.index_heads, "torch_dtype": "bfloat16"}


def export(model, out, shards):
    named = {"model.embed_tokens.weight": model.embedding, "lm_head.weight": model.head,
             "model.norm.weight": model.norm}
    for layer, block in enumerate(model.blocks):
        named.update(block_tensors(block, layer))
    tensors = {}
    for name, value in sorted(named.items()):
        dtype = torch.float32 if name.endswith("correction_bias") else torch.bfloat16
        tensors[name] = value.detach().to(dtype).cpu().contiguous().clone()
    total = sum(t.nbytes for t in tensors.values())
    files, size = [{}], 0
    for name, tensor in tensors.items():
        if size > total / shards * len(files):
            files.append({})
        files[-1][name] = tensor
        size += tensor.nbytes
    index = {"metadata": {"total_size": total}, "weight_map": {}}
    for number, content in enumerate(files, start=1):
        name = f"model-{number:05d}-of-{len(files):05d}.safetensors"
        save_file(content, out / name, metadata={"format": "pt"})
        index["weight_map"].update({tensor: name for tensor in content})
    (out / "model.safetensors.index.json").write_text(json.dumps(index, indent=1))
    (out / "config.json").write_text(json.dumps(config_json(model.shape), indent=2))


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--corpus", required=True)
    parser.add_argument("--heldout", required=True)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    for field in dataclasses.fields(Shape):
        parser.add_argument("--" + field.name.replace("_", "-"), type=field.type,
                            default=field.default)
    parser.add_argument("--batch", type=int, default=24)
    parser.add_argument("--sparse-batch", type=int, default=8)
    parser.add_argument("--dense-seconds", type=float, default=300)
    parser.add_argument("--warm-up-seconds", type=float, default=45)
    parser.add_argument("--sparse-seconds", type=float, default=110)
    parser.add_argument("--rate", type=float, default=4e-3)
    parser.add_argument("--windows", type=int, nargs=2, default=(8, 48),
                        help="calibration and held-out sequences")
    parser.add_argument("--shards", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def main():
    args = parse_arguments()
    shape = Shape(**{f.name: getattr(args, f.name) for f in dataclasses.fields(Shape)})
    args.out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(args.seed)
    torch.backends.cuda.matmul.allow_tf32 = True

    texts = read_corpus(args.corpus)
    tokenizer = train_tokenizer(texts, shape.vocabulary)
    tokenizer.save(str(args.out / "tokenizer.json"))
    data = torch.from_numpy(np.concatenate(encode(tokenizer, texts))).to(DEVICE)
    documents = encode(tokenizer, read_corpus(args.heldout))
    windows = [d[:shape.length] for d in documents if len(d) >= shape.length]
    windows = torch.from_numpy(np.stack(windows[:sum(args.windows)])).long().to(DEVICE)
    calibration, heldout = windows[:args.windows[0]], windows[args.windows[0]:]
    log(f"{len(data) / 1e6:.1f} M tokens, {len(windows)} held-out windows")

    model = Model(shape)
    log(f"{sum(p.numel() for p in model.parameters()) / 1e6:.2f} M parameters")
    main_optimizer = pretrain_dense(model, data, args)
    indexer_optimizer = warm_up_indexers(model, data, args)
    train_sparse(model, data, args, main_optimizer, indexer_optimizer)
    write_reference(model, calibration, heldout, args.out)
    export(model, args.out, args.shards)
    log("done")


if __name__ == "__main__":
    main()
