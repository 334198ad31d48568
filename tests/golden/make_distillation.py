#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Gradients of distilled indexers from PyTorch's autograd in float64, and steps of torch.optim.Adam.

    pip install torch safetensors
    tests/golden/make_distillation.py        # writes CASE/golden_distillation.json and adam.json

The forward pass is written here from docs/numerics.md with expanded attention, and its hidden states must
agree with those of transformers (golden_full.safetensors, golden_pattern_*.safetensors) to 1e-5 of the largest.
The loss of a student is the multi-layer form, sum_j KL(p_j || q) / (m + 1), as autograd differentiates it.
"""
import json
import math
import pathlib

import torch
import torch.nn.functional as F
from safetensors.torch import load_file

HERE = pathlib.Path(__file__).resolve().parent
CASES = {"deepseek_v32_tiny": "FFSSFS", "glm_moe_dsa_tiny": "FSFSSS"}
SAMPLES, STRIDE = 12, 7919  # element i * STRIDE modulo the size of a tensor
EPS = 1e-6                  # of the latent norms, and of the indexer's LayerNorm
PARTS = ("wq_b.weight", "wk.weight", "weights_proj.weight", "k_norm.weight", "k_norm.bias")


def rms_norm(x, weight, eps):
    return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + eps) * weight


def rotate(x, table, interleaved):
    """RoPE of x [..., T, R], in the order in which the pairs are."""
    cos, sin = table
    if interleaved:
        a, b = x[..., 0::2], x[..., 1::2]
        return torch.stack([a * cos - b * sin, b * cos + a * sin], -1).flatten(-2)
    a, b = x.chunk(2, -1)
    return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)


class Model:
    def __init__(self, folder):
        self.config = c = json.loads((folder / "config.json").read_text())
        self.weights = {name: t.double() for name, t in load_file(folder / "model.safetensors").items()}
        self.layers = c["num_hidden_layers"]
        self.heads, self.nope, self.rope = c["num_attention_heads"], c["qk_nope_head_dim"], c["qk_rope_head_dim"]
        self.index_heads, self.index_dim = c["index_n_heads"], c["index_head_dim"]
        self.interleaved = c["model_type"] == "glm_moe_dsa"
        self.scale = (self.nope + self.rope) ** -0.5
        self.theta = c.get("rope_theta") or c["rope_parameters"]["rope_theta"]

    def of_layer(self, layer):
        prefix = f"model.layers.{layer}."
        return {name[len(prefix):]: t for name, t in self.weights.items() if name.startswith(prefix)}

    def tables(self, length):
        """Cosines and sines [T, R / 2]; angles are products in float32."""
        frequencies = self.theta ** -(torch.arange(0, self.rope, 2).double() / self.rope)
        yarn = self.config.get("rope_scaling")
        if yarn:
            def dimension(rotations):
                turns = yarn["original_max_position_embeddings"] / (2 * math.pi * rotations)
                return self.rope * math.log(turns) / (2 * math.log(self.theta))
            low = max(math.floor(dimension(yarn["beta_fast"])), 0)
            high = min(math.ceil(dimension(yarn["beta_slow"])), self.rope - 1)
            ramp = ((torch.arange(self.rope // 2).double() - low) / max(high - low, 0.001)).clamp(0, 1)
            frequencies = frequencies / yarn["factor"] * ramp + frequencies * (1 - ramp)
            assert yarn["mscale"] == yarn["mscale_all_dim"]
            attention = 0.1 * yarn["mscale_all_dim"] * math.log(yarn["factor"]) + 1
            self.scale = (self.nope + self.rope) ** -0.5 * attention ** 2
        angles = torch.outer(torch.arange(length).float(), frequencies.float()).double()
        return angles.cos(), angles.sin()

    def project(self, w, x, table):
        """Normalized input, q latent, and q, k, v of [B, heads, T, width]."""
        batch, length, _ = x.shape
        h = rms_norm(x, w["input_layernorm.weight"], self.config["rms_norm_eps"])
        latent = rms_norm(F.linear(h, w["self_attn.q_a_proj.weight"]), w["self_attn.q_a_layernorm.weight"], EPS)
        q = F.linear(latent, w["self_attn.q_b_proj.weight"]).view(batch, length, self.heads, -1).transpose(1, 2)
        kv = F.linear(h, w["self_attn.kv_a_proj_with_mqa.weight"])
        kv, key = kv[..., :-self.rope], rotate(kv[..., None, :, -self.rope:], table, True)
        kv = F.linear(rms_norm(kv, w["self_attn.kv_a_layernorm.weight"], EPS), w["self_attn.kv_b_proj.weight"])
        kv = kv.view(batch, length, self.heads, -1).transpose(1, 2)
        q = torch.cat([q[..., :self.nope], rotate(q[..., self.nope:], table, True)], -1)
        k = torch.cat([kv[..., :self.nope], key.expand(-1, self.heads, -1, -1)], -1)
        return h, latent, q, k, kv[..., self.nope:]

    def scores(self, parts, h, latent, table):
        """Index scores [B, T, T], with the scale of the softmax."""
        batch, length, _ = h.shape
        wq_b, wk, weights_proj, norm, bias = parts
        q = F.linear(latent, wq_b).view(batch, length, self.index_heads, -1).transpose(1, 2)
        k = F.layer_norm(F.linear(h, wk), (self.index_dim,), norm, bias, 1e-6)[:, None]

        def turned(x):
            return torch.cat([rotate(x[..., :self.rope], table, self.interleaved), x[..., self.rope:]], -1)
        products = F.relu(turned(q) @ turned(k).transpose(-1, -2))
        head_weights = F.linear(h, weights_proj).transpose(1, 2)[..., None]
        return (products * head_weights).sum(1) * (self.index_heads * self.index_dim) ** -0.5

    def feed_forward(self, w, x):
        c = self.config
        h = rms_norm(x, w["post_attention_layernorm.weight"], c["rms_norm_eps"])

        def mlp(prefix):
            gate, up = (F.linear(h, w[f"{prefix}.{part}_proj.weight"]) for part in ("gate", "up"))
            return F.linear(F.silu(gate) * up, w[f"{prefix}.down_proj.weight"])
        if "mlp.gate.weight" not in w:
            return x + mlp("mlp")
        p = torch.sigmoid(F.linear(h, w["mlp.gate.weight"]))
        choices = p + w["mlp.gate.e_score_correction_bias"]
        grouped = choices.unflatten(-1, (c["n_group"], -1))
        best = grouped.topk(2, -1)[0].sum(-1).topk(c["topk_group"], -1)[1]
        kept = torch.zeros_like(grouped[..., 0]).scatter(-1, best, 1).repeat_interleave(grouped.shape[-1], -1)
        chosen = choices.masked_fill(kept == 0, -math.inf).topk(c["num_experts_per_tok"], -1)[1]
        factors = p * torch.zeros_like(p).scatter(-1, chosen, 1)
        factors = factors / (factors.sum(-1, keepdim=True) + 1e-20) * c["routed_scaling_factor"]
        experts = sum(factors[..., e, None] * mlp(f"mlp.experts.{e}") for e in range(c["n_routed_experts"]))
        return x + mlp("mlp.shared_experts") + experts


def indexer(w):
    return [w["self_attn.indexer." + part].clone().requires_grad_(True) for part in PARTS]


def run(model, ids, pattern):
    """Per layer (h, latent), the distribution averaged over heads, the candidates and the hidden state."""
    length = ids.shape[1]
    table, visible = model.tables(length), torch.ones(length, length, dtype=torch.bool).tril()
    x, candidates, layers = model.weights["model.embed_tokens.weight"][ids], visible, []
    for layer in range(model.layers):
        w = model.of_layer(layer)
        h, latent, q, k, v = model.project(w, x, table)
        if pattern and pattern[layer] == "F":
            scores = model.scores(indexer(w), h, latent, table).detach().masked_fill(~visible, -math.inf)
            best = scores.topk(model.config["index_topk"], -1)[1]
            candidates = torch.zeros_like(scores, dtype=torch.bool).scatter(-1, best, True) & visible
        mask = candidates if candidates.dim() == 2 else candidates[:, None]
        p = torch.softmax((q @ k.transpose(-1, -2) * model.scale).masked_fill(~mask, -math.inf), -1)
        x = x + F.linear((p @ v).transpose(1, 2).flatten(-2), w["self_attn.o_proj.weight"])
        x = model.feed_forward(w, x)
        layers.append(((h, latent), p.mean(1), candidates.expand(len(ids), -1, -1), x))
    return layers


def divergence(p, scores, candidates):
    """The sum of KL(p || softmax(scores)) over all queries."""
    log_q = torch.log_softmax(scores.masked_fill(~candidates, -math.inf), -1)
    return torch.where(p > 0, p * (p.clamp_min(1e-300).log() - log_q.masked_fill(~candidates, 0)), 0).sum()


def sampled(gradient):
    flat = gradient.flatten()
    at = torch.arange(SAMPLES) * STRIDE % len(flat)
    return {"largest": flat.abs().max().item(), "norm": flat.norm().item(), "samples": flat[at].tolist()}


def students_of(pattern):
    full = [i for i, letter in enumerate(pattern) if letter == "F"] + [len(pattern)]
    return [(a, b) for a, b in zip(full, full[1:]) if b > a + 1]


def stage(model, ids, pattern, layers):
    """KL and gradients of every student: of the mean over queries, as a step of training takes them."""
    table, found = model.tables(ids.shape[1]), []
    for first, end in students_of(pattern):
        parts = indexer(model.of_layer(first))
        scores = model.scores(parts, *layers[first][0], table)
        candidates = layers[first][2]
        losses = [divergence(layers[j][1], scores, candidates) for j in range(first, end)]
        mean = sum(layers[j][1] for j in range(first, end)) / (end - first)
        gradients = torch.autograd.grad(sum(losses) / (end - first) / ids.numel(), parts, retain_graph=True)
        found.append({"layer": first, "end": end,
                      "divergence": divergence(mean, scores, candidates).item(),
                      "divergences": [loss.item() for loss in losses],
                      "gradients": {part: sampled(g) for part, g in zip(PARTS, gradients)}})
    return found


def write(name, document):
    path = HERE / name
    path.write_text(json.dumps(document, indent=1) + "\n")
    print(f"{name}: {path.stat().st_size} bytes")


def make_case(case, pattern):
    folder = HERE / case
    model = Model(folder)
    full = load_file(folder / "golden_full.safetensors")
    ids = full["input_ids"].long()
    shared = load_file(folder / f"golden_pattern_{pattern}.safetensors")
    sparse = run(model, ids, pattern)
    for reference, layers in ((full, run(model, ids, "F" * model.layers)), (shared, sparse)):
        hidden = [reference[f"hidden.{i}"] for i in range(model.layers)]
        # Every second row, in the run with a pattern of the first sequence only.
        error = max(((of[3].flatten(0, 1)[:2 * h.shape[1]:2] - h[0]).abs().max() / h.abs().max()).item()
                    for of, h in zip(layers, hidden))
        print(f"{case}: hidden states differ from transformers' by {error:.1e}")
        assert error < 1e-5
    write(f"{case}/golden_distillation.json",
          {"torch": torch.__version__, "pattern": pattern, "stride": STRIDE,
           "dense": stage(model, ids, pattern, run(model, ids, None)),
           "sparse": stage(model, ids, pattern, sparse)})


def make_adam():
    start = [0.5, -1.25, 3.0, 0.0, 1e-3, -0.125]
    gradients = [[0.1, -2.0, 1e-6, 0.0, 3.0, 0.25], [-0.3, -2.0, 1e-6, 1.0, -3.0, 0.25],
                 [0.2, -1.0, 0.0, -1.0, 3.0, 0.5]]
    parameters = torch.tensor(start, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([parameters], lr=1e-2, betas=(0.9, 0.95), eps=1e-8)
    after = []
    for gradient in gradients:
        parameters.grad = torch.tensor(gradient, dtype=torch.float64)
        optimizer.step()
        after.append(parameters.tolist())
    write("adam.json", {"torch": torch.__version__, "rate": 1e-2, "start": start, "gradients": gradients,
                        "after": after})


if __name__ == "__main__":
    for name, letters in CASES.items():
        make_case(name, letters)
    make_adam()
