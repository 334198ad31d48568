#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A DSA language model in PyTorch, small enough to train in minutes (used by train_dsa.py).

The forward pass is the one of docs/numerics.md, expanded attention, bfloat16 activations while
training. Sequences have one fixed length.
"""
import dataclasses
import math

import torch
import torch.nn.functional as F
from torch import nn

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
LATENT_EPS = INDEX_EPS = 1e-6


@dataclasses.dataclass
class Shape:
    """Sizes in the order of config.json; names as in docs/numerics.md."""

    family: str = "deepseek_v32"  # or glm_moe_dsa
    vocabulary: int = 4096
    hidden: int = 256
    layers: int = 16
    heads: int = 4
    q_rank: int = 128
    kv_rank: int = 96
    nope: int = 32
    rope: int = 32
    value: int = 64
    index_heads: int = 4
    index_dim: int = 64
    index_topk: int = 128
    dense_width: int = 512
    expert_width: int = 48
    experts: int = 8
    experts_used: int = 2
    groups: int = 4
    kept_groups: int = 2
    routed_scale: float = 1.5
    theta: float = 10000.0
    length: int = 2048

    @property
    def glm(self):
        return self.family == "glm_moe_dsa"

    @property
    def eps(self):
        return 1e-5 if self.glm else 1e-6


def rms_norm(x, weight, eps):
    wide = x.float()
    scaled = wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + eps)
    return scaled.to(x.dtype) * weight.to(x.dtype)


def rotate(x, cos, sin, interleaved):
    """RoPE of x[..., T, R]. Both layouts write half-split: q and k are permuted alike."""
    wide = x.float()
    a, b = (wide[..., 0::2], wide[..., 1::2]) if interleaved else wide.chunk(2, -1)
    return torch.cat([a * cos - b * sin, b * cos + a * sin], -1).to(x.dtype)


def linear(x, weight):
    return F.linear(x, weight.to(x.dtype))


def matrix(rows, cols, std=0.02):
    return nn.Parameter(torch.randn(rows, cols, device=DEVICE) * std)


def ones(size):
    return nn.Parameter(torch.ones(size, device=DEVICE))


class Block(nn.Module):
    """One decoder layer; parameters are named as in the exported checkpoint's tensors."""

    def __init__(self, shape, layer):
        super().__init__()
        s, self.shape, self.dense = shape, shape, layer < 1
        out = 0.02 / math.sqrt(2 * s.layers)
        self.input_norm, self.post_norm = ones(s.hidden), ones(s.hidden)
        self.q_a, self.q_norm = matrix(s.q_rank, s.hidden), ones(s.q_rank)
        self.q_b = matrix(s.heads * (s.nope + s.rope), s.q_rank)
        self.kv_a, self.kv_norm = matrix(s.kv_rank + s.rope, s.hidden), ones(s.kv_rank)
        self.kv_b = matrix(s.heads * (s.nope + s.value), s.kv_rank)
        self.o = matrix(s.hidden, s.heads * s.value, out)
        self.index_q = matrix(s.index_heads * s.index_dim, s.q_rank, 0.05)
        self.index_k = matrix(s.index_dim, s.hidden, 0.05)
        self.index_w = matrix(s.index_heads, s.hidden, 0.05)
        self.index_norm = ones(s.index_dim)
        self.index_bias = nn.Parameter(torch.zeros(s.index_dim, device=DEVICE))
        width = s.dense_width if self.dense else s.expert_width
        self.gate, self.up = matrix(width, s.hidden), matrix(width, s.hidden)
        self.down = matrix(s.hidden, width, out)
        if not self.dense:
            total = s.experts * s.expert_width
            self.router = matrix(s.experts, s.hidden)
            self.register_buffer("correction", torch.zeros(s.experts, device=DEVICE))
            self.expert_gate, self.expert_up = matrix(total, s.hidden), matrix(total, s.hidden)
            self.expert_down = matrix(s.hidden, total, out)

    def project(self, x, cos, sin):
        """Normalised input and q latent; q, k, v of [B, heads, T, dim]."""
        s, (batch, length, _) = self.shape, x.shape
        h = rms_norm(x, self.input_norm, s.eps)
        latent = rms_norm(linear(h, self.q_a), self.q_norm, LATENT_EPS)
        q = linear(latent, self.q_b).view(batch, length, s.heads, -1).transpose(1, 2)
        kv = linear(h, self.kv_a)
        k_rope = rotate(kv[..., s.kv_rank:].unsqueeze(1), cos, sin, True)
        kv = linear(rms_norm(kv[..., :s.kv_rank], self.kv_norm, LATENT_EPS), self.kv_b)
        kv = kv.view(batch, length, s.heads, -1).transpose(1, 2)
        q = torch.cat([q[..., :s.nope], rotate(q[..., s.nope:], cos, sin, True)], -1)
        k = torch.cat([kv[..., :s.nope], k_rope.expand(batch, s.heads, length, s.rope)], -1)
        return h, latent, q, k, kv[..., s.nope:]

    def route(self, h):
        """Weight of every expert, zero where it is not chosen (noaux_tc), and their load."""
        s = self.shape
        scores = torch.sigmoid(F.linear(h.float(), self.router))
        choices = (scores + self.correction).detach()
        if s.groups > 1:
            grouped = choices.view(*choices.shape[:-1], s.groups, -1)
            best = grouped.topk(2, -1)[0].sum(-1).topk(s.kept_groups, -1)[1]
            kept = torch.zeros_like(grouped[..., 0]).scatter(-1, best, 1.0)
            kept = kept.repeat_interleave(s.experts // s.groups, -1)
            choices = choices.masked_fill(kept == 0, 0.0)
        chosen = choices.topk(s.experts_used, -1)[1]
        mask = torch.zeros_like(scores).scatter(-1, chosen, 1.0)
        weights = scores * mask
        weights = weights / (weights.sum(-1, keepdim=True) + 1e-20) * s.routed_scale
        return weights, mask.sum((0, 1))

    def finish(self, x, attended):
        """Residual after attention and MLP, and the experts' load."""
        batch, length, _ = x.shape
        x = x + linear(attended.transpose(1, 2).reshape(batch, length, -1), self.o)
        h = rms_norm(x, self.post_norm, self.shape.eps)
        y = linear(F.silu(linear(h, self.gate)) * linear(h, self.up), self.down)
        if self.dense:
            return x + y, None
        weights, load = self.route(h)
        inner = F.silu(linear(h, self.expert_gate)) * linear(h, self.expert_up)
        inner = inner.view(batch, length, self.shape.experts, -1)
        inner = inner * weights.unsqueeze(-1).to(h.dtype)
        return x + y + linear(inner.view(batch, length, -1), self.expert_down), load

    def index_scores(self, h, latent, cos, sin):
        """[B, T, T] float32 scores without the causal mask."""
        s, (batch, length, _) = self.shape, h.shape
        q = linear(latent, self.index_q).view(batch, length, s.index_heads, -1).transpose(1, 2)
        k = F.layer_norm(linear(h, self.index_k).float(), (s.index_dim,), self.index_norm,
                         self.index_bias, INDEX_EPS).to(h.dtype)
        q, k = (torch.cat([rotate(t[..., :s.rope], cos, sin, s.glm), t[..., s.rope:]], -1)
                for t in (q, k))
        scores = F.relu(q @ k.unsqueeze(1).transpose(-1, -2) * s.index_dim**-0.5)
        weights = F.linear(h.float(), self.index_w) * s.index_heads**-0.5
        return torch.einsum("bhts,bth->bts", scores.float(), weights)

    def forward_dense(self, x, cos, sin):
        _, _, q, k, v = self.project(x, cos, sin)
        return self.finish(x, F.scaled_dot_product_attention(q, k, v, is_causal=True))


class Model(nn.Module):
    def __init__(self, shape):
        super().__init__()
        self.shape = shape
        self.embedding, self.head = (matrix(shape.vocabulary, shape.hidden) for _ in range(2))
        self.norm = ones(shape.hidden)
        self.blocks = nn.ModuleList(Block(shape, layer) for layer in range(shape.layers))
        rate = torch.arange(0, shape.rope, 2, device=DEVICE).float() / shape.rope
        angles = torch.outer(torch.arange(shape.length, device=DEVICE).float(), shape.theta**-rate)
        self.cos, self.sin = angles.cos(), angles.sin()
        future = torch.full((shape.length, shape.length), -math.inf, device=DEVICE)
        self.causal = future.triu(1)

    def embed(self, tokens, dtype=torch.bfloat16):
        return self.embedding[tokens].to(dtype)

    def loss(self, x, tokens):
        h = rms_norm(x[:, :-1], self.norm, self.shape.eps)
        return F.cross_entropy(linear(h, self.head).float().flatten(0, 1), tokens[:, 1:].flatten())

    def indexer_parameters(self):
        return [p for name, p in self.named_parameters() if ".index_" in name]

    def main_parameters(self):
        return [p for name, p in self.named_parameters() if ".index_" not in name]

    def balance(self, loads):
        """Auxiliary-loss-free balancing: move the correction against the load."""
        with torch.no_grad():
            routed = [block for block in self.blocks if not block.dense]
            for block, load in zip(routed, [load for load in loads if load is not None]):
                block.correction += 2e-3 * torch.sign(load.mean() - load)

    def top_k(self, scores):
        """Mask of the selected positions. Rows of at most K positions keep all of them."""
        chosen = (scores + self.causal).topk(self.shape.index_topk, -1)[1]
        mask = torch.zeros_like(scores, dtype=torch.bool).scatter(-1, chosen, True)
        return mask & (self.causal == 0)

    def attention(self, q, k, allowed):
        logits = (q @ k.transpose(-1, -2)).float() * (self.shape.nope + self.shape.rope)**-0.5
        return torch.softmax(logits.masked_fill(~allowed, -math.inf), -1)


def kl(target, log_probabilities):
    """KL divergence up to the target's own entropy terms, mean over queries."""
    difference = torch.log(target.clamp_min(1e-9)) - log_probabilities.clamp_min(-1e4)
    return (target * difference).sum(-1).mean()


def sparse_block(model, block, x, shared=None, train=False):
    """One layer over its own or a shared selection: residual, load, indexer KL, selection."""
    h, latent, q, k, v = block.project(x, model.cos, model.sin)
    selection, scores = shared, None
    if shared is None:
        scores = block.index_scores(h.detach(), latent.detach(), model.cos, model.sin)
        selection = model.top_k(scores.detach())
    attention = model.attention(q, k, selection[:, None])
    y, load = block.finish(x, attention.to(x.dtype) @ v)
    divergence = None
    if train:
        indexer = torch.log_softmax(scores.masked_fill(~selection, -1e9), -1)
        divergence = kl(attention.mean(1).detach(), indexer.masked_fill(~selection, 0.0))
    return y, load, divergence, selection
