# SPDX-License-Identifier: Apache-2.0
"""Weights of DeepSeek-V3.2 and of GLM models with its architecture, by config.json."""
from . import storage

QUANTIZATION = {"quant_method": "fp8", "weight_block_size": [storage.BLOCK, storage.BLOCK]}


def cut(config, layers, quantized):
    """Keeps the first layers, all of which own an indexer."""
    for key in ("indexer_types", "index_topk_pattern", "mlp_layer_types"):
        config.pop(key, None)


def weights(c, quantized):
    """The parts of every weight, outer ones first. `quantized`: in FP8, as published."""
    h, rq, rk = c["hidden_size"], c["q_lora_rank"], c["kv_lora_rank"]
    heads, nope, rope, dv = (c[k] for k in ("num_attention_heads", "qk_nope_head_dim",
                                            "qk_rope_head_dim", "v_head_dim"))
    ni, di = c["index_n_heads"], c["index_head_dim"]
    linear, matrix = storage.fp8 if quantized else storage.matrix, storage.matrix

    def ones(name, width):
        return storage.repeated(name, (width,), 1)

    def mlp(prefix, width):
        return [linear(prefix + "gate_proj.weight", (width, h)),
                linear(prefix + "up_proj.weight", (width, h)),
                linear(prefix + "down_proj.weight", (h, width))]

    out = [storage.embedding("model.embed_tokens.weight", (c["vocab_size"], h)),
           ones("model.norm.weight", h),
           matrix("lm_head.weight", (c["vocab_size"], h))]
    for layer in range(c["num_hidden_layers"]):
        p = f"model.layers.{layer}."
        a, m = p + "self_attn.", p + "mlp."
        out += [ones(p + "input_layernorm.weight", h),
                ones(p + "post_attention_layernorm.weight", h),
                linear(a + "q_a_proj.weight", (rq, h)),
                ones(a + "q_a_layernorm.weight", rq),
                linear(a + "q_b_proj.weight", (heads * (nope + rope), rq)),
                linear(a + "kv_a_proj_with_mqa.weight", (rk + rope, h)),
                ones(a + "kv_a_layernorm.weight", rk),
                linear(a + "kv_b_proj.weight", (heads * (nope + dv), rk)),
                linear(a + "o_proj.weight", (h, heads * dv)),
                linear(a + "indexer.wq_b.weight", (ni * di, rq)),
                linear(a + "indexer.wk.weight", (di, h)),
                ones(a + "indexer.k_norm.weight", di),
                storage.repeated(a + "indexer.k_norm.bias", (di,), 0),
                matrix(a + "indexer.weights_proj.weight", (ni, h))]
        if layer < c.get("first_k_dense_replace", 0):
            out += mlp(m, c["intermediate_size"])
            continue
        out.append(matrix(m + "gate.weight", (c["n_routed_experts"], h)))
        out.append(storage.repeated(m + "gate.e_score_correction_bias",
                                    (c["n_routed_experts"],), 0, "F32"))
        for e in range(c["n_routed_experts"]):
            out += mlp(f"{m}experts.{e}.", c["moe_intermediate_size"])
        if c.get("n_shared_experts", 0):
            out += mlp(m + "shared_experts.", c["moe_intermediate_size"] * c["n_shared_experts"])
    return out
