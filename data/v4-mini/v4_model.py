# SPDX-License-Identifier: Apache-2.0
"""A small language model with DeepSeek-V4's architecture in PyTorch (used by train_v4.py).

The forward pass is that of docs/numerics.md: residual streams that a matrix mixes, a window of
positions, entries that are pooled from 4 or 128 positions, an indexer that chooses among those of
ratio 4, sinks, and experts of which a table of tokens chooses in the first layers. Sequences have
one fixed length, a multiple of the window and of every ratio.
"""
import dataclasses
import math

import torch
import torch.nn.functional as F
from dsa_model import DEVICE, kl, linear, matrix, ones, rms_norm
from torch import nn

SELECTED_RATIO = 4  # the ratio at which entries overlap and an indexer chooses among them


@dataclasses.dataclass
class Shape:
    """Sizes; names as in docs/numerics.md. Ratio 0: a layer has only its window."""

    vocabulary: int = 4096
    hidden: int = 80
    ratios: tuple = (0,) + (4, 128) * 6 + (4,)
    heads: int = 4
    q_rank: int = 48
    head_dim: int = 48
    rope: int = 16
    output_groups: int = 2
    output_rank: int = 32
    window: int = 32
    index_heads: int = 4
    index_dim: int = 32
    index_topk: int = 32
    expert_width: int = 24
    experts: int = 4
    experts_used: int = 2
    hash_layers: int = 1
    routed_scale: float = 1.5
    limit: float = 10.0
    streams: int = 2
    rounds: int = 5
    theta: float = 10000.0
    entry_theta: float = 160000.0
    eps: float = 1e-6
    length: int = 1024

    @property
    def selecting(self):
        """Layers that own an indexer; a pattern has a letter for each."""
        return [layer for layer, ratio in enumerate(self.ratios) if ratio == SELECTED_RATIO]


def rotate(x, cos, sin):
    """RoPE of the last numbers of x[..., T, D], in interleaved pairs."""
    rotated = 2 * cos.shape[-1]
    wide = x[..., -rotated:].float()
    a, b = wide[..., 0::2], wide[..., 1::2]
    turned = torch.stack([a * cos - b * sin, b * cos + a * sin], -1).flatten(-2)
    return torch.cat([x[..., :-rotated], turned.to(x.dtype)], -1)


def vector(size, std):
    return nn.Parameter(torch.randn(size, device=DEVICE) * std)


class Tables:
    """Cosines and sines by position, and what each query sees; the same for every layer."""

    def __init__(self, shape):
        positions = torch.arange(shape.length, device=DEVICE)
        exponent = torch.arange(0, shape.rope, 2, device=DEVICE).float() / shape.rope
        plain, entry = (torch.outer(positions.float(), theta**-exponent)
                        for theta in (shape.theta, shape.entry_theta))
        self.plain, self.entry = (plain.cos(), plain.sin()), (entry.cos(), entry.sin())
        w = shape.window
        query, key = positions[:w, None], torch.arange(2 * w, device=DEVICE)[None]
        inside = (key > query) & (key <= query + w)  # keys: the block of queries and the one before
        blocks = inside.expand(shape.length // w, w, 2 * w).clone()
        blocks[0, :, :w] = False
        self.window = blocks.reshape(shape.length, 2 * w)
        self.visible = {
            ratio: torch.arange(shape.length // ratio, device=DEVICE)[None]
            < ((positions + 1) // ratio)[:, None] for ratio in set(shape.ratios) if ratio}


class Streams(nn.Module):
    """Reads a sublayer's input from the residual streams and says how its result is added."""

    def __init__(self, shape):
        super().__init__()
        n, self.shape = shape.streams, shape
        self.fn = matrix(n * (n + 2), n * shape.hidden)
        mixing = torch.full((n, n), -3.0).fill_diagonal_(0.0).flatten()  # streams start apart
        base = torch.cat([0.5 * torch.randn(2 * n), mixing])
        self.base = nn.Parameter(base.to(DEVICE))
        self.scale = nn.Parameter(torch.full((3,), 0.5, device=DEVICE))

    def read(self, x):
        """Input [B, T, H], factors [B, T, n] of the result, mixing matrix [B, T, n, n]."""
        s, n = self.shape, self.shape.streams
        flat = x.flatten(-2)
        m = F.linear(flat * torch.rsqrt(flat.pow(2).mean(-1, keepdim=True) + s.eps), self.fn)
        pre, post, mixing = (part * scale + base for part, scale, base in zip(
            m.split([n, n, n * n], -1), self.scale, self.base.split([n, n, n * n])))
        pre = torch.sigmoid(pre) + s.eps
        mixing = mixing.unflatten(-1, (n, n)).softmax(-1) + s.eps
        mixing = mixing / (mixing.sum(-2, keepdim=True) + s.eps)
        for _ in range(s.rounds - 1):
            mixing = mixing / (mixing.sum(-1, keepdim=True) + s.eps)
            mixing = mixing / (mixing.sum(-2, keepdim=True) + s.eps)
        return (pre.unsqueeze(-1) * x).sum(-2), 2 * torch.sigmoid(post), mixing


def add_result(x, result, factors, mixing):
    mixed = (mixing.unsqueeze(-1) * x.unsqueeze(-2)).sum(-3)
    return mixed + factors.unsqueeze(-1) * result.float().unsqueeze(-2)


class Entries(nn.Module):
    """Pools entries of `width` numbers from `ratio` positions, or from eight if they overlap."""

    def __init__(self, shape, ratio, width):
        super().__init__()
        self.ratio, self.width, self.shape = ratio, width, shape
        self.overlap = ratio == SELECTED_RATIO
        size = 2 * width if self.overlap else width
        self.kv, self.gate = matrix(size, shape.hidden, 0.05), matrix(size, shape.hidden)
        self.ape, self.norm = matrix(ratio, size), ones(width)

    def forward(self, h, tables):
        """Normalized, rotated entries [B, E, width] of h [B, T, H]."""
        values = linear(h, self.kv).float().unflatten(1, (-1, self.ratio))
        gates = linear(h, self.gate).float().unflatten(1, (-1, self.ratio)) + self.ape
        if self.overlap:
            values, gates = (
                torch.cat([F.pad(t[:, :-1, :, :self.width], (0, 0, 0, 0, 1, 0), value=outside),
                           t[..., self.width:]], 2)
                for t, outside in ((values, 0.0), (gates, -1e30)))
        pooled = rms_norm((gates.softmax(2) * values).sum(2), self.norm, self.shape.eps)
        return rotate(pooled.to(h.dtype), *(table[::self.ratio] for table in tables.entry))


class Indexer(nn.Module):
    def __init__(self, shape):
        super().__init__()
        self.shape = shape
        self.q = matrix(shape.index_heads * shape.index_dim, shape.q_rank, 0.05)
        self.w = matrix(shape.index_heads, shape.hidden, 0.05)
        self.entries = Entries(shape, SELECTED_RATIO, shape.index_dim)

    def forward(self, h, latent, tables):
        """[B, T, E] float32 scores of all entries, visible or not."""
        s = self.shape
        q = linear(latent, self.q).unflatten(-1, (s.index_heads, -1)).transpose(1, 2)
        keys = self.entries(h, tables).unsqueeze(1).transpose(-1, -2)
        scores = F.relu((rotate(q, *tables.entry) @ keys).float() * s.index_dim**-0.5)
        weights = linear(h, self.w).float() * s.index_heads**-0.5
        return torch.einsum("bhte,bth->bte", scores, weights)


class Attention(nn.Module):
    def __init__(self, shape, ratio):
        super().__init__()
        s, self.shape, self.ratio = shape, shape, ratio
        self.q_a, self.q_norm = matrix(s.q_rank, s.hidden), ones(s.q_rank)
        self.q_b = matrix(s.heads * s.head_dim, s.q_rank)
        self.kv, self.kv_norm = matrix(s.head_dim, s.hidden), ones(s.head_dim)
        self.sink = vector(s.heads, 0.0)
        together = s.heads // s.output_groups * s.head_dim
        self.o_a = matrix(s.output_groups * s.output_rank, together, 0.05)
        self.o_b = matrix(s.hidden, s.output_groups * s.output_rank,
                          0.02 / math.sqrt(2 * len(s.ratios)))
        self.entries = Entries(s, ratio, s.head_dim) if ratio else None
        self.indexer = Indexer(s) if ratio == SELECTED_RATIO else None

    def latent(self, h):
        return rms_norm(linear(h, self.q_a), self.q_norm, self.shape.eps)

    def forward(self, h, latent, tables, allowed):
        """Result [B, T, H] and, with entries, the weights [B, heads, T, E] of those `allowed`."""
        s, (batch, length, _) = self.shape, h.shape
        cos, sin = tables.entry if self.ratio else tables.plain
        q = linear(latent, self.q_b).view(batch, length, s.heads, -1).transpose(1, 2)
        q = rotate(rms_norm(q, torch.ones((), device=h.device), s.eps), cos, sin)
        keys = rotate(rms_norm(linear(h, self.kv), self.kv_norm, s.eps), cos, sin)
        blocks = keys.view(batch, 1, -1, s.window, s.head_dim)
        blocks = torch.cat([F.pad(blocks[:, :, :-1], (0, 0, 0, 0, 1, 0)), blocks], 3)
        near = q.unflatten(2, (-1, s.window)) @ blocks.transpose(-1, -2)
        logits = [near.flatten(2, 3).float().masked_fill(~tables.window, -math.inf)]
        if self.ratio:
            entries = self.entries(h, tables).unsqueeze(1)
            far = (q @ entries.transpose(-1, -2)).float()
            logits.append(far.masked_fill(~allowed, -math.inf))
        sinks = self.sink.view(1, -1, 1, 1).expand(batch, -1, length, 1)
        weights = torch.cat([*(part * s.head_dim**-0.5 for part in logits), sinks], -1).softmax(-1)
        near = weights[..., :2 * s.window].to(h.dtype).unflatten(2, (-1, s.window))
        mixed = (near @ blocks).flatten(2, 3)
        far = weights[..., 2 * s.window:-1]
        if self.ratio:
            mixed = mixed + far.to(h.dtype) @ entries
        mixed = rotate(mixed, cos, -sin).transpose(1, 2).reshape(
            batch, length, s.output_groups, -1)
        grouped = torch.einsum("btgk,gok->btgo", mixed, self.o_a.to(h.dtype).unflatten(
            0, (s.output_groups, -1)))
        return linear(grouped.flatten(2), self.o_b), far


class Experts(nn.Module):
    def __init__(self, shape, hashed):
        super().__init__()
        s, self.shape, self.hashed = shape, shape, hashed
        out = 0.02 / math.sqrt(2 * len(s.ratios))
        self.gate, self.up = (matrix(s.expert_width, s.hidden, 0.05) for _ in range(2))
        self.down = matrix(s.hidden, s.expert_width, out)
        total = s.experts * s.expert_width
        self.expert_gate, self.expert_up = (matrix(total, s.hidden, 0.05) for _ in range(2))
        self.expert_down = matrix(s.hidden, total, out)
        self.router = matrix(s.experts, s.hidden)
        table = torch.rand(s.vocabulary, s.experts).argsort(-1)[:, :s.experts_used]
        self.register_buffer("table", table.to(DEVICE) if hashed else None)
        self.register_buffer("correction", torch.zeros(s.experts, device=DEVICE))

    def swiglu(self, h, gate, up):
        limit = self.shape.limit
        return F.silu(linear(h, gate).clamp(max=limit)) * linear(h, up).clamp(-limit, limit)

    def forward(self, h, tokens):
        """Result [B, T, H] and how many tokens each expert got."""
        s = self.shape
        scores = torch.sqrt(F.softplus(F.linear(h.float(), self.router)))
        if self.hashed:
            chosen = self.table[tokens]
        else:
            chosen = (scores + self.correction).detach().topk(s.experts_used, -1)[1]
        mask = torch.zeros_like(scores).scatter(-1, chosen, 1.0)
        weights = scores * mask
        weights = weights / (weights.sum(-1, keepdim=True) + 1e-20) * s.routed_scale
        inner = self.swiglu(h, self.expert_gate, self.expert_up).unflatten(-1, (s.experts, -1))
        inner = (inner * weights.unsqueeze(-1).to(h.dtype)).flatten(-2)
        shared = linear(self.swiglu(h, self.gate, self.up), self.down)
        return linear(inner, self.expert_down) + shared, mask.sum((0, 1))


class Block(nn.Module):
    def __init__(self, shape, layer):
        super().__init__()
        self.shape, self.ratio = shape, shape.ratios[layer]
        self.attention_streams, self.mlp_streams = Streams(shape), Streams(shape)
        self.input_norm, self.post_norm = ones(shape.hidden), ones(shape.hidden)
        self.attention = Attention(shape, self.ratio)
        self.experts = Experts(shape, layer < shape.hash_layers)


def top_k(scores, visible, k):
    """Mask of the selected entries. Rows that see at most k of them keep all."""
    masked = scores.masked_fill(~visible, -math.inf)
    chosen = masked.sort(dim=-1, descending=True, stable=True)[1][..., :k]  # ties: the first ones
    return torch.zeros_like(visible.expand_as(scores)).scatter(-1, chosen, True) & visible


def block_step(block, x, tokens, tables, select, dtype, shared=None, learn=False):
    """One layer: residual, load of the experts, KL of the indexer or None, selection or None.

    `select` says whether a layer of ratio 4 attends to all entries, to its own selection or to
    `shared`. With `learn`, the indexer's divergence from the attention over the same entries.
    """
    s, divergence = block.shape, None
    h, factors, mixing = block.attention_streams.read(x)
    h = rms_norm(h, block.input_norm, s.eps).to(dtype)
    latent = block.attention.latent(h)
    allowed = tables.visible[block.ratio] if block.ratio else None
    indexer = block.attention.indexer
    if indexer and (learn or select == "own"):
        scores = indexer(h.detach(), latent.detach(), tables)
    if indexer and select == "own":
        allowed = top_k(scores.detach(), allowed, s.index_topk)[:, None]
    elif indexer and select == "shared":
        allowed = shared
    result, weights = block.attention(h, latent, tables, allowed)
    x = add_result(x, result, factors, mixing)
    if indexer and learn:
        target = weights.detach().mean(1)
        target = target / (target.sum(-1, keepdim=True) + 1e-9)
        kept = allowed.expand(-1, 1, -1, -1)[:, 0] if allowed.dim() == 4 else allowed
        divergence = kl(target, scores.masked_fill(~kept, -1e9).log_softmax(-1).masked_fill(
            ~kept, 0.0))
    h, factors, mixing = block.mlp_streams.read(x)
    result, load = block.experts(rms_norm(h, block.post_norm, s.eps).to(dtype), tokens)
    return add_result(x, result, factors, mixing), load, divergence, allowed if indexer else None


class Model(nn.Module):
    def __init__(self, shape):
        super().__init__()
        self.shape, n = shape, shape.streams
        self.embedding, self.head = (matrix(shape.vocabulary, shape.hidden) for _ in range(2))
        self.norm = ones(shape.hidden)
        self.head_fn, self.head_base = matrix(n, n * shape.hidden), vector(n, 0.5)
        self.head_scale = nn.Parameter(torch.full((1,), 0.5, device=DEVICE))
        self.blocks = nn.ModuleList(Block(shape, layer) for layer in range(len(shape.ratios)))
        self.tables = Tables(shape)

    def embed(self, tokens):
        """Residual streams [B, T, n, H], which stay in float32."""
        return self.embedding[tokens].unsqueeze(2).expand(-1, -1, self.shape.streams, -1)

    def loss(self, x, tokens, dtype):
        s, flat = self.shape, x[:, :-1].flatten(-2)
        m = F.linear(flat * torch.rsqrt(flat.pow(2).mean(-1, keepdim=True) + s.eps), self.head_fn)
        weights = torch.sigmoid(m * self.head_scale + self.head_base) + s.eps
        h = (weights.unsqueeze(-1) * x[:, :-1]).sum(-2)
        h = rms_norm(h, self.norm, s.eps).to(dtype)
        return F.cross_entropy(linear(h, self.head).float().flatten(0, 1), tokens[:, 1:].flatten())

    def parameters_of(self, indexers):
        return [p for name, p in self.named_parameters() if (".indexer." in name) == indexers]

    def balance(self, loads):
        """Auxiliary-loss-free balancing: move the correction against the load."""
        with torch.no_grad():
            for block, load in zip(self.blocks, loads):
                if not block.experts.hashed:
                    block.experts.correction += 2e-3 * torch.sign(load.mean() - load)
