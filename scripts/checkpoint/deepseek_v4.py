# SPDX-License-Identifier: Apache-2.0
"""Weights of DeepSeek-V4 with the names of its release, by config.json in the released form."""
from . import storage

OVERLAPPING = 4  # the ratio whose layers own an indexer, and whose entries overlap
QUANTIZATION = {"quant_method": "fp8", "fmt": "e4m3", "scale_fmt": "ue8m0",
                "weight_block_size": [storage.BLOCK, storage.BLOCK]}


def cut(config, layers, quantized):
    """Keeps what the configuration says about the first layers, and how experts are stored."""
    for key in ("compress_ratios", "layer_types", "mlp_layer_types"):
        if key in config:
            config[key] = config[key][:layers]
    if "compress_ratios" not in config:
        raise SystemExit("config.json has no compress_ratios: only the released form is read")
    if OVERLAPPING not in config["compress_ratios"]:
        raise SystemExit(f"none of the first {layers} layers has ratio {OVERLAPPING}, and so an "
                         "indexer: keep more --layers")
    config["num_hash_layers"] = min(config.get("num_hash_layers", 0), layers)
    if not quantized:
        config.pop("expert_dtype", None)


def streams(prefix, outputs, width, scales):
    return [storage.exact(prefix + "fn", (outputs, width)),
            storage.repeated(prefix + "base", (outputs,), 0, "F32"),
            storage.repeated(prefix + "scale", (scales,), 1, "F32")]


def compressor(prefix, hidden, ratio, width):
    columns = width * (2 if ratio == OVERLAPPING else 1)
    return [storage.matrix(prefix + "wkv.weight", (columns, hidden)),
            storage.matrix(prefix + "wgate.weight", (columns, hidden)),
            storage.exact(prefix + "ape", (ratio, columns)),
            storage.repeated(prefix + "norm.weight", (width,), 1)]


def attention(c, prefix, ratio, linear):
    h, rq, width = c["hidden_size"], c["q_lora_rank"], c["head_dim"]
    heads, groups, rank = c["num_attention_heads"], c["o_groups"], c["o_lora_rank"]
    out = [linear(prefix + "wq_a.weight", (rq, h)),
           storage.repeated(prefix + "q_norm.weight", (rq,), 1),
           linear(prefix + "wq_b.weight", (heads * width, rq)),
           linear(prefix + "wkv.weight", (width, h)),
           storage.repeated(prefix + "kv_norm.weight", (width,), 1),
           storage.repeated(prefix + "attn_sink", (heads,), 0, "F32"),
           linear(prefix + "wo_a.weight", (groups * rank, heads // groups * width)),
           linear(prefix + "wo_b.weight", (h, groups * rank))]
    if ratio > 1:
        out += compressor(prefix + "compressor.", h, ratio, width)
    if ratio == OVERLAPPING:
        i, ni, di = prefix + "indexer.", c["index_n_heads"], c["index_head_dim"]
        out += [linear(i + "wq_b.weight", (ni * di, rq)),
                storage.matrix(i + "weights_proj.weight", (ni, h)),
                *compressor(i + "compressor.", h, ratio, di)]
    return out


def experts(c, prefix, layer, linear, expert):
    h, width, count = c["hidden_size"], c["moe_intermediate_size"], c["n_routed_experts"]

    def mlp(name, columns, stored):
        return [stored(name + "w1.weight", (columns, h)), stored(name + "w3.weight", (columns, h)),
                stored(name + "w2.weight", (h, columns))]

    out = [storage.matrix(prefix + "gate.weight", (count, h))]
    if layer < c["num_hash_layers"]:
        out.append(storage.expert_table(prefix + "gate.tid2eid", c["vocab_size"], count,
                                        c["num_experts_per_tok"]))
    else:
        out.append(storage.repeated(prefix + "gate.bias", (count,), 0, "F32"))
    for e in range(count):
        out += mlp(f"{prefix}experts.{e}.", width, expert)
    return out + mlp(prefix + "shared_experts.", width * c.get("n_shared_experts", 1), linear)


def weights(c, quantized):
    """The parts of every weight, outer ones first. `quantized`: in FP8, as released."""
    linear = storage.fp8_e8m0 if quantized else storage.matrix
    expert = storage.fp4 if c.get("expert_dtype") == "fp4" else linear
    h, vocabulary, count = c["hidden_size"], c["vocab_size"], c.get("hc_mult", 4)
    out = [storage.embedding("embed.weight", (vocabulary, h)),
           storage.repeated("norm.weight", (h,), 1),
           storage.matrix("head.weight", (vocabulary, h)),
           *streams("hc_head_", count, count * h, 1)]
    for layer, ratio in enumerate(c["compress_ratios"]):
        p = f"layers.{layer}."
        out += [storage.repeated(p + "attn_norm.weight", (h,), 1),
                storage.repeated(p + "ffn_norm.weight", (h,), 1)]
        for part in ("attn", "ffn"):
            out += streams(f"{p}hc_{part}_", (2 + count) * count, count * h, 3)
        out += attention(c, p + "attn.", ratio, linear)
        out += experts(c, p + "ffn.", layer, linear, expert)
    return out
