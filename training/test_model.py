"""Slopes of the compiled parts against differences, and a question's branch against the same tokens in a row. Run: HEARTH_FLOAT=1 python test_model.py"""
import os
os.environ["HEARTH_FLOAT"] = "1"
import numpy as np, torch
import kernels as K, model as M

torch.manual_seed(0)
c = M.config(50, 32, 3, 2, 6, 48)
p = {k: (v + torch.randn_like(v) * 0.1).requires_grad_() for k, v in M.start(c).items()}
rng = np.random.default_rng(0)


def batch(main, forks, n):
    """Rows of a stream of `main` tokens, then `forks` questions of n tokens that go on from a random place."""
    L = main + forks * n; prev = np.arange(-1, L - 1); first = np.full(L, -1); pos = np.arange(L); parent = np.arange(L)
    for f in range(forks):
        at = rng.integers(1, main); s = main + f * n
        prev[s] = at; first[s:s + n] = s; pos[s:s + n] = at + 1 + np.arange(n); parent[s:s + n] = at
    return prev, pos, parent, first


def loss(ids, tree, state, w, drop=0.0):
    y, _ = M.forward(p, c, ids, tree, state, 10, drop, 5)
    logits = (y.reshape(-1, 32) @ p["embed"].T).contiguous()
    return K.CrossEntropy.apply(logits * 1.0, ids.reshape(-1).int().contiguous(), w)[0]


parts = [batch(10, 2, 4) for _ in range(2)]
tree = M.Tree(c, *(np.stack(x) for x in zip(*parts)), [0, 4]); tree.prev[0, 0] = -2
ids = torch.randint(0, 50, (2, 18)); w = torch.rand(36); state = M.empty_state(c, 2)
for s in state:
    for k in s: s[k] = torch.randn_like(s[k])
worst = 0
for drop in (0.0, 0.3):
    for q in p.values(): q.grad = None
    loss(ids, tree, state, w, drop).backward()
    for name, q in p.items():
        if q.grad is None: continue
        d = torch.randn_like(q); e = 1e-2 / d.norm()
        with torch.no_grad():
            q += e * d; up = loss(ids, tree, state, w, drop); q -= 2 * e * d; down = loss(ids, tree, state, w, drop); q += e * d
        want, got = float((up - down) / (2 * e)), float((q.grad * d).sum())
        worst = max(worst, abs(want - got) / (abs(want) + abs(got) + 0.3))
        if abs(want - got) > 0.05 * (abs(want) + abs(got)) + 0.05: print("wrong", drop, name, want, got)
print("worst difference of slopes", round(worst, 4)); assert worst < 0.1
q = {k: v.detach() for k, v in p.items()}
y, _ = M.forward(q, c, ids, tree, state, 10)
for row in range(2):
    for f in range(2):
        at = int(tree.prev[row, 10 + 4 * f]) + 1; line = torch.cat([ids[row, :at], ids[row, 10 + 4 * f:14 + 4 * f]])[None]; n = at + 4; r = np.arange(n)[None]; prev = r - 1
        if row == 0: prev[0, 0] = -2
        one = [{k: v[row:row + 1] for k, v in s.items()} for s in state]
        z, _ = M.forward(q, c, line, M.Tree(c, prev, r, r, r * 0 - 1, [[0, 4][row]]), one, n)
        assert (z[0, at:] - y[row, 10 + 4 * f:14 + 4 * f]).abs().max() < 1e-4
print("1 passed, 0 failed")
