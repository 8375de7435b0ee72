"""RecurrentGemma at a small size (Griffin, arXiv 2402.19427 and 2404.07839), laid out for trees of questions (see `kernels.cpp`).

Shapes: B rows, L places in a row, D width, H heads, W attention window, V vocabulary.
"""
import json, math, os
import numpy as np
import torch
import torch.nn.functional as Fn
import kernels as K


def config(vocab, width=256, layers=9, heads=4, window=256, mlp=768):
    return dict(vocab=vocab, width=width, layers=layers, heads=heads, window=window, mlp=mlp)


def is_attention(i): return i % 3 == 2


def shapes(c):
    """Name -> (shape, kind of start): every parameter of the model, matrices as [out, in]."""
    D, H, M = c["width"], c["heads"], c["mlp"]; hd = D // H
    s = {"embed": ((c["vocab"], D), "embed"), "final_norm": ((D,), "zero"), "hint": ((16, D), "hint"), "hint_b": ((16,), "zero"), "early": ((16, D), "hint"), "early_b": ((16,), "zero")}
    for i in range(c["layers"]):
        b = f"{i}."
        s |= {b + "norm1": ((D,), "zero"), b + "norm2": ((D,), "zero"), b + "gu": ((2 * M, D), "in"), b + "gu_b": ((2 * M,), "zero"), b + "down": ((D, M), "out"), b + "down_b": ((D,), "zero"), b + "o": ((D, D), "out"), b + "o_b": ((D,), "zero")}
        if is_attention(i): s |= {b + "q": ((D, D), "in"), b + "kv": ((2 * hd, D), "in")}
        else:
            s |= {b + "yx": ((2 * D, D), "in"), b + "y_b": ((D,), "zero"), b + "x_b": ((D,), "zero"), b + "conv": ((4, D), "conv"), b + "conv_b": ((D,), "zero"),
                  b + "a": ((D,), "decay"), b + "wg": ((H, hd, 2 * hd), "gate"), b + "bi": ((D,), "zero"), b + "br": ((D,), "zero")}
    return s


def start(c, seed=0):
    g = torch.Generator().manual_seed(seed); p = {}
    for name, (shape, kind) in shapes(c).items():
        n = lambda scale: torch.randn(shape, generator=g) * math.sqrt(scale)
        if kind == "zero": p[name] = torch.zeros(shape)
        elif kind == "embed": p[name] = n(1 / c["width"])
        elif kind == "in": p[name] = n(1 / shape[1])
        elif kind == "out": p[name] = n(2 / c["layers"] / shape[1])
        elif kind == "gate": p[name] = n(1 / shape[1])
        elif kind == "conv": p[name] = n(0.0025)
        elif kind == "hint": p[name] = n(0.1 / shape[1])
        else:
            u = torch.rand(shape, generator=g) * (0.999 ** 2 - 0.9 ** 2) + 0.9 ** 2
            p[name] = torch.log(torch.expm1(-0.5 * torch.log(u)))       # softplus(a) = -log(a0), a0 in [0.9, 0.999]
    return p


def empty_state(c, B):
    """What is carried from chunk to chunk: h, the conv's last three inputs, and the window's keys (before their rotation) and values."""
    D, hd = c["width"], c["width"] // c["heads"]
    return [{"kv": torch.zeros(B, c["window"], 2 * hd, dtype=K.ACT)} if is_attention(i) else {"h": torch.zeros(B, D), "conv": torch.zeros(B, 3, D)} for i in range(c["layers"])]


class Tree:
    """The shape of a batch of rows: what stands before what, and where. All arrays are [B, L] numpy.

    `prev` as in kernels.cpp; `pos` the place in a token's own branch, from 0 at the chunk's beginning; `parent` the last place of
    the stream that a token knows of (its own one for the stream's tokens); `first` the place where its question begins, -1 for the
    stream's tokens; `seen` [B] how many carried keys there are.
    """
    def __init__(self, c, prev, pos, parent, first, seen):
        W = c["window"]; B, L = prev.shape; hd = c["width"] // c["heads"]; at = np.arange(L)[None]
        self.prev = torch.from_numpy(np.ascontiguousarray(prev, np.int32))
        asked = first >= 0
        ranges = np.stack([np.maximum(pos, W - np.asarray(seen)[:, None]), W + parent + 1, np.where(asked, W + first, 0), np.where(asked, W + at + 1, 0)], -1)
        ranges[..., 0] = np.minimum(ranges[..., 0], ranges[..., 1])
        self.ranges = torch.from_numpy(np.ascontiguousarray(ranges, np.int32))
        f = 10000.0 ** (-np.arange(hd // 4) * 2 / (hd // 2))
        ang = (np.concatenate([np.broadcast_to(np.arange(W), (B, W)), pos + W], 1)[..., None] * f).astype(np.float32)
        cs, sn = np.cos(ang), np.sin(ang)
        flat = lambda a: torch.from_numpy(np.ascontiguousarray(a.reshape(-1, hd // 4)))
        self.key_cs, self.key_sn, self.query_cs, self.query_sn = flat(cs), flat(sn), flat(cs[:, W:]), flat(sn[:, W:])


def forward(p, c, tokens, tree, state, main, drop=0.0, seed=0, hints=False):
    """The normed output [B, L, D], and the state after each row's first `main` places. `p` holds f32 vectors and ACT matrices.

    With `hints` also what the last attention layer reads, and what the layer after the first attention layer reads: from them the trainer
    lets straight lines tell the kinds of emergencies, a help while learning that is not exported (`hint`, `early`).
    """
    D, H, W = c["width"], c["heads"], c["window"]; hd = D // H; B, L = tokens.shape; new = []
    x = Fn.embedding(tokens, p["embed"]) * float(torch.tensor(math.sqrt(D)).bfloat16())
    delta = bias = early = None; drops = 0
    def norm(x, delta, bias, w):
        nonlocal drops
        drops += 1
        return K.AddRms.apply(x, delta, bias, w, drop if delta is not None else 0.0, (seed * 1000003 + drops * 7919) & 0xffffffff)
    for i in range(c["layers"]):
        b = lambda n: p[f"{i}.{n}"]
        x, y = norm(x, delta, bias, b("norm1"))
        if i == 3: early = y
        if is_attention(i):
            read = y
            q = K.Rope.apply(Fn.linear(y, b("q")), tree.query_cs, tree.query_sn, H)
            kv = torch.cat([state[i]["kv"], Fn.linear(y, b("kv"))], 1)
            k = K.Rope.apply(kv[..., :hd].contiguous(), tree.key_cs, tree.key_sn, 1)
            o = K.Attention.apply(q, k, kv[..., hd:].contiguous(), tree.ranges, H)
            new.append({"kv": kv[:, main:main + W].detach().clone()})
        else:
            yx = Fn.linear(y, b("yx")); gy, z = yx[..., :D].contiguous(), yx[..., D:].contiguous()
            u = K.Conv.apply(z, b("x_b"), b("conv"), b("conv_b"), tree.prev, state[i]["conv"])
            gate = torch.bmm(u.view(B * L, H, hd).transpose(0, 1), b("wg"))
            o, h = K.Lru.apply(u, gate.contiguous(), b("bi"), b("br"), Fn.softplus(b("a")), gy, b("y_b"), tree.prev, state[i]["h"])
            new.append({"h": h[:, main - 1].clone(), "conv": (torch.cat([state[i]["conv"], z[:, :main].detach().float() + b("x_b").detach()], 1))[:, -3:].clone()})
        x, y = norm(x, Fn.linear(o, b("o")), b("o_b"), b("norm2"))
        delta, bias = Fn.linear(K.Geglu.apply(Fn.linear(y, b("gu")), b("gu_b")), b("down")), b("down_b")
    x, y = norm(x, delta, bias, p["final_norm"])
    return (y, new, read, early) if hints else (y, new)


# ---------------------------------------------------------------- the Hugging Face layout
def to_hugging_face(p, c):
    D, M = c["width"], c["mlp"]; hd = D // c["heads"]; t = {"model.embed_tokens.weight": p["embed"], "model.final_norm.weight": p["final_norm"]}
    for i in range(c["layers"]):
        b = lambda n: p[f"{i}.{n}"]; L = f"model.layers.{i}."; T = L + "temporal_block."
        t |= {L + "temporal_pre_norm.weight": b("norm1"), L + "channel_pre_norm.weight": b("norm2"), L + "mlp_block.gate_proj.weight": b("gu")[:M], L + "mlp_block.up_proj.weight": b("gu")[M:],
              L + "mlp_block.gate_proj.bias": b("gu_b")[:M], L + "mlp_block.up_proj.bias": b("gu_b")[M:], L + "mlp_block.down_proj.weight": b("down"), L + "mlp_block.down_proj.bias": b("down_b")}
        if is_attention(i): t |= {T + "q_proj.weight": b("q"), T + "k_proj.weight": b("kv")[:hd], T + "v_proj.weight": b("kv")[hd:], T + "o_proj.weight": b("o"), T + "o_proj.bias": b("o_b")}
        else:
            t |= {T + "linear_y.weight": b("yx")[:D], T + "linear_x.weight": b("yx")[D:], T + "linear_y.bias": b("y_b"), T + "linear_x.bias": b("x_b"), T + "linear_out.weight": b("o"), T + "linear_out.bias": b("o_b"),
                  T + "conv_1d.weight": b("conv").T[:, None], T + "conv_1d.bias": b("conv_b"), T + "rg_lru.recurrent_param": b("a"),
                  T + "rg_lru.input_gate_weight": b("wg")[..., :hd], T + "rg_lru.recurrent_gate_weight": b("wg")[..., hd:],
                  T + "rg_lru.input_gate_bias": b("bi").view(c["heads"], hd), T + "rg_lru.recurrent_gate_bias": b("br").view(c["heads"], hd)}
    return t


def from_hugging_face(folder):
    """(parameters in f32, configuration) of a checkpoint folder."""
    from safetensors.torch import load_file
    j = json.load(open(os.path.join(folder, "config.json"))); t = {k: v.float() for k, v in load_file(os.path.join(folder, "model.safetensors")).items()}
    c = config(j["vocab_size"], j["hidden_size"], j["num_hidden_layers"], j["num_attention_heads"], j["attention_window_size"], j["intermediate_size"] // 2)
    p = {"embed": t["model.embed_tokens.weight"], "final_norm": t["model.final_norm.weight"]}
    for i in range(c["layers"]):
        L = f"model.layers.{i}."; T = L + "temporal_block."; b = f"{i}."; m = L + "mlp_block."
        p |= {b + "norm1": t[L + "temporal_pre_norm.weight"], b + "norm2": t[L + "channel_pre_norm.weight"], b + "gu": torch.cat([t[m + "gate_proj.weight"], t[m + "up_proj.weight"]]),
              b + "gu_b": torch.cat([t[m + "gate_proj.bias"], t[m + "up_proj.bias"]]), b + "down": t[m + "down_proj.weight"], b + "down_b": t[m + "down_proj.bias"]}
        if is_attention(i): p |= {b + "q": t[T + "q_proj.weight"], b + "kv": torch.cat([t[T + "k_proj.weight"], t[T + "v_proj.weight"]]), b + "o": t[T + "o_proj.weight"], b + "o_b": t[T + "o_proj.bias"]}
        else:
            p |= {b + "yx": torch.cat([t[T + "linear_y.weight"], t[T + "linear_x.weight"]]), b + "y_b": t[T + "linear_y.bias"], b + "x_b": t[T + "linear_x.bias"], b + "o": t[T + "linear_out.weight"], b + "o_b": t[T + "linear_out.bias"],
                  b + "conv": t[T + "conv_1d.weight"][:, 0].T, b + "conv_b": t[T + "conv_1d.bias"], b + "a": t[T + "rg_lru.recurrent_param"],
                  b + "wg": torch.cat([t[T + "rg_lru.input_gate_weight"], t[T + "rg_lru.recurrent_gate_weight"]], -1), b + "bi": t[T + "rg_lru.input_gate_bias"].reshape(-1), b + "br": t[T + "rg_lru.recurrent_gate_bias"].reshape(-1)}
    return {k: v.contiguous() for k, v in p.items()}, c


MATRICES = ("gu", "down", "o", "q", "kv", "yx", "wg")
def is_matrix(name): return name.split(".")[-1] in MATRICES
def ready(p):
    """As `forward` wants them, not for training."""
    return {k: (v.to(K.ACT) if is_matrix(k) else v.float()).contiguous() for k, v in p.items()}
