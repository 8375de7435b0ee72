"""The compiled parts of the model (`kernels.cpp`) as functions that torch can differentiate.

Compiled at the first import for this very processor; needs g++. Set HEARTH_FLOAT=1 for f32 activations, where a processor has no bf16.
"""
import ctypes, hashlib, os, subprocess, sys, tempfile
import torch

HERE = os.path.dirname(os.path.abspath(__file__))
FLOAT = bool(int(os.environ.get("HEARTH_FLOAT", "0")))
ACT = torch.float32 if FLOAT else torch.bfloat16


def build():
    source = open(os.path.join(HERE, "kernels.cpp"), "rb").read()
    cpu = open("/proc/cpuinfo", "rb").read().split(b"\n\n")[0] if os.path.exists("/proc/cpuinfo") else b""
    flags = [l for l in cpu.split(b"\n") if l.startswith((b"flags", b"Features", b"model name"))]
    key = hashlib.sha256(source + b"".join(flags) + bytes([FLOAT])).hexdigest()[:16]
    folder = os.environ.get("HEARTH_KERNELS", os.path.join(tempfile.gettempdir(), f"hearth-kernels-{os.getuid()}"))
    os.makedirs(folder, exist_ok=True)
    path = os.path.join(folder, key + ".so")
    if not os.path.exists(path):
        new = f"{path}.{os.getpid()}"
        command = [os.environ.get("CXX", "g++"), "-O3", "-march=native", "-ffast-math", "-fno-math-errno", "-shared", "-fPIC", os.path.join(HERE, "kernels.cpp"), "-o", new]
        if b"avx512f" in b"".join(flags): command.insert(2, "-mprefer-vector-width=512")
        subprocess.run(command + (["-DACT_FLOAT"] if FLOAT else []), check=True)
        os.replace(new, path)
    return ctypes.CDLL(path)


LIB = build()
I, I64, F, U = ctypes.c_int, ctypes.c_int64, ctypes.c_float, ctypes.c_uint32


def P(t):
    if t is None: return None
    assert t.is_contiguous(), "a kernel wants contiguous memory"
    return ctypes.c_void_p(t.data_ptr())


class AddRms(torch.autograd.Function):
    """(x + dropout(delta + bias), its RMS norm times 1 + w); delta may be None."""
    @staticmethod
    def forward(ctx, x, delta, bias, w, p, seed):
        D = x.shape[-1]; N = x.numel() // D
        xo = torch.empty_like(x); y = torch.empty(x.shape, dtype=ACT); inv = torch.empty(N)
        LIB.add_rms_fwd(I64(N), I(D), P(x), P(delta), P(bias), F(p), U(seed), P(w), P(xo), P(y), P(inv))
        ctx.save_for_backward(xo, inv, w); ctx.p, ctx.seed, ctx.has = p, seed, delta is not None
        return xo, y

    @staticmethod
    def backward(ctx, gxo, gy):
        xo, inv, w = ctx.saved_tensors; D = xo.shape[-1]; N = xo.numel() // D
        gx = torch.empty_like(xo); gw = torch.zeros(D)
        gd = torch.empty(xo.shape, dtype=ACT) if ctx.has else None; gb = torch.zeros(D) if ctx.has else None
        gy = torch.zeros(xo.shape, dtype=ACT) if gy is None else gy.contiguous()
        LIB.add_rms_bwd(I64(N), I(D), P(xo), P(inv), P(w), F(ctx.p), U(ctx.seed), P(gy), P(gxo.contiguous() if gxo is not None else None), P(gx), P(gd), P(gw), P(gb))
        return gx, gd, gb, gw, None, None


class Geglu(torch.autograd.Function):
    @staticmethod
    def forward(ctx, gu, b):
        M = gu.shape[-1] // 2; N = gu.numel() // (2 * M)
        out = torch.empty(gu.shape[:-1] + (M,), dtype=ACT)
        LIB.geglu_fwd(I64(N), I(M), P(gu), P(b), P(out)); ctx.save_for_backward(gu, b)
        return out

    @staticmethod
    def backward(ctx, go):
        gu, b = ctx.saved_tensors; M = gu.shape[-1] // 2; N = gu.numel() // (2 * M)
        g = torch.empty_like(gu); gb = torch.zeros_like(b)
        LIB.geglu_bwd(I64(N), I(M), P(gu), P(b), P(go.contiguous()), P(g), P(gb))
        return g, gb


class Conv(torch.autograd.Function):
    @staticmethod
    def forward(ctx, z, zb, w, cb, prev, carried):
        B, L, E = z.shape; c = torch.empty_like(z)
        LIB.conv_fwd(I(B), I(L), I(E), P(z), P(zb), P(w), P(cb), P(prev), P(carried), P(c))
        ctx.save_for_backward(z, zb, w, prev, carried)
        return c

    @staticmethod
    def backward(ctx, gc):
        z, zb, w, prev, carried = ctx.saved_tensors; B, L, E = z.shape
        gz = torch.empty_like(z); gzb, gw, gcb = torch.zeros_like(zb), torch.zeros_like(w), torch.zeros_like(zb)
        LIB.conv_bwd(I(B), I(L), I(E), P(z), P(zb), P(w), P(prev), P(carried), P(gc.contiguous()), P(gz), P(gzb), P(gw), P(gcb))
        return gz, gzb, gw, gcb, None, None


class Lru(torch.autograd.Function):
    """rg_lru(x) gelu(y + yb), and every h (not differentiated)."""
    @staticmethod
    def forward(ctx, x, gate, bi, br, sp, y, yb, prev, h0):
        B, L, E = x.shape; H = gate.shape[0]
        h = torch.empty(B, L, E); out = torch.empty_like(x)
        LIB.lru_fwd(I(B), I(L), I(E), I(H), P(x), P(gate), P(bi), P(br), P(sp), P(y), P(yb), P(prev), P(h0), P(h), P(out))
        ctx.save_for_backward(x, gate, bi, br, sp, y, yb, prev, h0, h); ctx.mark_non_differentiable(h)
        return out, h

    @staticmethod
    def backward(ctx, go, _):
        x, gate, bi, br, sp, y, yb, prev, h0, h = ctx.saved_tensors; B, L, E = x.shape; H = gate.shape[0]
        gx, gg, gy = torch.empty_like(x), torch.empty_like(gate), torch.empty_like(y)
        gbi, gbr, gsp, gyb = (torch.zeros(E) for _ in range(4))
        LIB.lru_bwd(I(B), I(L), I(E), I(H), P(x), P(gate), P(bi), P(br), P(sp), P(y), P(yb), P(prev), P(h0), P(h), P(go.contiguous()), P(gx), P(gg), P(gbi), P(gbr), P(gsp), P(gy), P(gyb))
        return gx, gg, gbi.view_as(bi), gbr.view_as(br), gsp, gy, gyb, None, None


class Attention(torch.autograd.Function):
    """q [B, L, H hd], kv [B, S, 2 hd] with one head of keys and values; range as in kernels.cpp."""
    @staticmethod
    def forward(ctx, q, k, v, ranges, heads):
        B, L, D = q.shape; hd, S = k.shape[2], k.shape[1]; scale = hd ** -0.5; q = q.view(B, L * heads, hd)
        p = torch.bmm(q, k.transpose(1, 2))
        LIB.softmax_fwd(I64(B * L), I(heads), I(S), P(p), P(ranges), F(scale))
        ctx.save_for_backward(q, k, v, p, ranges); ctx.heads, ctx.scale = heads, scale
        return torch.bmm(p, v).view(B, L, D)

    @staticmethod
    def backward(ctx, go):
        q, k, v, p, ranges = ctx.saved_tensors; B, L = ranges.shape[:2]; go = go.reshape(q.shape)
        gv = torch.bmm(p.transpose(1, 2), go); g = torch.bmm(go, v.transpose(1, 2))
        LIB.softmax_bwd(I64(B * L), I(ctx.heads), I(k.shape[1]), P(p), P(g), P(ranges), F(ctx.scale))
        return torch.bmm(g, k).view(B, L, -1), torch.bmm(g.transpose(1, 2), q), gv, None, None


class Rope(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, cs, sn, heads):
        N, hd = cs.shape[0], cs.shape[1] * 4; out = torch.empty_like(x)
        LIB.rope(I64(N), I(heads), I(hd), P(x), P(cs), P(sn), F(1), P(out)); ctx.save_for_backward(cs, sn); ctx.heads = heads
        return out

    @staticmethod
    def backward(ctx, g):
        cs, sn = ctx.saved_tensors; g = g.contiguous(); out = torch.empty_like(g)
        LIB.rope(I64(cs.shape[0]), I(ctx.heads), I(cs.shape[1] * 4), P(g), P(cs), P(sn), F(-1), P(out))
        return out, None, None, None


class CrossEntropy(torch.autograd.Function):
    """sum(weight * loss) and each row's loss; the logits' memory becomes their gradient."""
    @staticmethod
    def forward(ctx, logits, target, weight):
        M, V = logits.shape; loss = torch.empty(M)
        LIB.cross_entropy(I64(M), I(V), P(logits), P(target), P(weight), P(loss))
        ctx.grad = logits.detach(); ctx.mark_non_differentiable(loss)
        return (loss * weight).sum(), loss

    @staticmethod
    def backward(ctx, g, _):
        assert float(g) == 1.0
        return ctx.grad, None, None


def adam(w, m, v, g, rate, decay, clip, lr, b1, b2, step):
    LIB.adam(I64(w.numel()), P(w), P(m), P(v), P(g), P(rate), P(decay), F(clip), F(lr), F(b1), F(b2), F(1 / (1 - b1 ** step)), F(1 / (1 - b2 ** step)))
