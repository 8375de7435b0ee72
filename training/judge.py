"""Scores a model on exchanges that were kept from training.

    python judge.py RUN/average.pt [--tokenizer RUN/tokenizer.json] [--rooms] [--json OUT]      # or a folder in the Hugging Face layout

Each exchange stands behind calm talk of the generator, and one reading is taken right after it. For each kind: recall at the threshold
that lets through a given share of false yeses. "same" takes the threshold from the very exchanges that are judged (as
`baseline_ngrams.py` does); "line" the same for the trainer's straight line (`hint`, not exported: what the state holds, whether or not
the questions find it); "kept" takes it from the first half of the development set and judges the second. An answer counts as
right when the model, word by word, would write just it. Cross-talk: of the exchanges of one kind, the share at which another kind
rises above its threshold for 0.5 %.
"""
import argparse, json, os, random, re
import numpy as np
import torch
import torch.nn.functional as Fn
import household as hh, model as M, split, written as W
from episodes import DEFAULT, KINDS
from streams import NOT_SAID, Encoder
from tokenizer import ASK, EOT, OPEN

RATES = (0.005, 0.02, 0.05)


def load(path, tokenizer=""):
    if os.path.isdir(path):
        p, c = M.from_hugging_face(path); tokenizer = tokenizer or os.path.join(path, "tokenizer.json")
    else:
        f = torch.load(path, weights_only=False); p, c = f["w"], f["config"]; tokenizer = tokenizer or os.path.join(os.path.dirname(path), "tokenizer.json")
    return M.ready(p), c, Encoder(tokenizer)


@torch.no_grad()
def ask(p, c, enc, items, batch=12, hints=None):
    """items: [(text's tokens, [(question, answer or None)])] -> for each question (log-odds of yes, whether the answer would be written)."""
    yes, no = enc("Yes")[0], enc("No")[0]; out = [None] * len(items)
    order = sorted(range(len(items)), key=lambda i: len(items[i][0]) + 25 * len(items[i][1]))
    for at in range(0, len(order), batch):
        block = order[at:at + batch]; rows = []
        for i in block:
            ids, qs = items[i]; forks = []
            for q, a in qs:
                pre = list(enc.known(ASK.format(q=q))); forks.append((pre, list(enc.known(a)) + [EOT] if a is not None else []))
            rows.append((ids, forks))
        T = max(len(r[0]) for r in rows); L = T + max(sum(max(len(f) + len(g) - 1, len(f)) for f, g in r[1]) for r in rows); B = len(rows)
        tokens = np.zeros((B, L), np.int64); prev = np.tile(np.arange(-1, L - 1), (B, 1)); pos = np.tile(np.arange(L), (B, 1)); parent = pos.copy(); first = np.full((B, L), -1); prev[:, 0] = -2; places = []
        for b, (ids, forks) in enumerate(rows):
            tokens[b, :len(ids)] = ids; used = T; mine = []
            for f, g in forks:
                seq = f + g[:-1]; n = len(seq); tokens[b, used:used + n] = seq; prev[b, used] = len(ids) - 1; pos[b, used:used + n] = len(ids) + np.arange(n); parent[b, used:used + n] = len(ids) - 1; first[b, used:used + n] = used
                mine.append((used + len(f) - 1, g)); used += n
            places.append(mine)
        y, _, read, _ = M.forward(p, c, torch.from_numpy(tokens), M.Tree(c, prev, pos, parent, first, np.zeros(B, int)), M.empty_state(c, B), 1, hints=True)
        if hints is not None and "hint" in p:
            line = Fn.linear(torch.stack([read[b, len(r[0]) - 1] for b, r in enumerate(rows)]).float(), p["hint"], p["hint_b"]).numpy()
            for b, i in enumerate(block): hints[i] = line[b]
        flat = [(b, at0, g) for b, m in enumerate(places) for at0, g in m]
        index = [(b, at0 + k) for b, at0, g in flat for k in range(max(1, len(g)))]
        l = Fn.linear(y[[b for b, _ in index], [t for _, t in index]], p["embed"].to(y.dtype)).float(); l = 30 * torch.tanh(l / 30)
        best = l.argmax(-1).numpy(); odds = (l[:, yes] - l[:, no]).numpy(); k = 0
        for b, i in enumerate(block): out[i] = []
        for b, _, g in flat:
            n = max(1, len(g)); out[block[b]].append((float(odds[k]), bool(g) and all(best[k + j] == g[j] for j in range(n)))); k += n
    return out


def context(enc, rng, parts, seed, calm, rooms, rooms_list=("kitchen", "hallway", "living room")):
    home = hh.Household(seed, noise=0, alert_rate=0.0); talk = [home.episode().text for _ in range(calm)]; ids = []
    for t in talk + parts: ids += enc(f" [{rng.choice(rooms_list)}] {t}" if rooms else f" {t}")
    return list(enc(OPEN)) + ids[-420:]


def recall(p, y, rate):
    no = np.sort(p[~y])[::-1]; return float(np.mean(p[y] > no[max(1, int(rate * len(no)))]))
def limit(p, y, rate):
    no = np.sort(p[~y])[::-1]; return float(no[max(1, int(rate * len(no)))])


def written_scores(p, c, enc, calm=4, rooms=False, most=10 ** 9):
    dev = split.exchanges()[1]; dev = dev[::max(1, len(dev) // most)]; rng = random.Random(5); items, truth = [], []
    foreign = [q for d in dev for q, a in d["q"] if "{" not in q]
    for i, d in enumerate(dev):
        t, s, q, k = W.fill(d, rng); q = q[:3]
        strange = rng.choice(foreign)
        while strange in [x for x, _ in q]: strange = rng.choice(foreign)
        items.append((context(enc, rng, [u.strip() for u in t.split("|")], 880000000 + i, calm, rooms), [(DEFAULT[x], None) for x in KINDS] + q + [(strange, NOT_SAID)])); truth.append((set(k), q))
    hints = {}; r = ask(p, c, enc, items, hints=hints)
    odds = np.array([[x[j][0] for j in range(8)] for x in r]); y = np.array([[k in t[0] for k in KINDS] for t in truth]); part = np.array([split.half(d["t"]) for d in dev])
    out = {"exchanges": len(dev), "same": {}, "kept": {}, "kept false": {}}
    for rate in RATES:
        out["same"][str(rate)] = [round(recall(odds[:, j], y[:, j], rate), 3) for j in range(8)]
        if hints: line = np.array([hints[i] for i in range(len(dev))]); out.setdefault("line", {})[str(rate)] = [round(recall(line[:, j], y[:, j], rate), 3) for j in range(8)]
        th = [limit(odds[part == 0, j], y[part == 0, j], rate) for j in range(8)]; o, z = odds[part == 1], y[part == 1]
        out["kept"][str(rate)] = [round(float(np.mean(o[z[:, j], j] > th[j])), 3) for j in range(8)]
        out["kept false"][str(rate)] = round(float(np.mean([np.mean(o[~z[:, j], j] > th[j]) for j in range(8)])), 4)
    th = np.array([limit(odds[:, j], y[:, j], 0.005) for j in range(8)]); over = odds > th; cross = {}
    for i, a in enumerate(KINDS):
        for j, b in enumerate(KINDS):
            rows = y[:, i] & ~y[:, j]
            if i != j and rows.any(): cross[f"{a} > {b}"] = round(float(over[rows, j].mean()), 3)
    worst = max(cross, key=cross.get); out["cross-talk worst"] = [worst, cross[worst]]; out["cross-talk mean"] = round(float(np.mean(list(cross.values()))), 4)
    said, unsaid = [], []
    for x, (_, q) in zip(r, truth):
        for (_, a), (_, ok) in zip(q, x[8:8 + len(q)]): (unsaid if a == NOT_SAID else said).append(ok)
    out["facts"] = [int(sum(said)), len(said)]; out["not said, of the exchange"] = [int(sum(unsaid)), len(unsaid)]; out["not said, of another"] = [int(sum(x[-1][1] for x in r)), len(r)]
    at0 = odds > 0; out["at 0.5"] = {"recall": round(float(np.mean([at0[y[:, j], j].mean() for j in range(8)])), 3), "false": round(float(np.mean([at0[~y[:, j], j].mean() for j in range(8)])), 4)}
    return out


def household_scores(p, c, enc, rooms=False):
    """A household's own yes/no questions that were never trained on."""
    rng = random.Random(7); items, truth, part = [], [], []
    for n, d in enumerate(split.questions()[1]):
        for yes in (True, False):
            for t in d["yes" if yes else "no"]:
                t, q, _, _ = W.fill({"t": t, "s": d["question"], "q": [], "k": []}, rng)
                items.append((context(enc, rng, [u.strip() for u in t.split("|")], 870000000 + len(items), 4, rooms), [(q, None)])); truth.append(yes); part.append(split.half(d["question"]))
    o = np.array([x[0][0] for x in ask(p, c, enc, items)]); y = np.array(truth); part = np.array(part)
    best = max(np.unique(o[part == 0]), key=lambda t: np.mean((o[part == 0] >= t) == y[part == 0])) if (part == 0).any() else 0
    rank = np.argsort(np.argsort(o)); auc = (rank[y].mean() - (y.sum() - 1) / 2) / max(1, (~y).sum())
    return {"n": len(y), "right at 0.5": round(float(np.mean((o > 0) == y)), 3), "right, threshold of the other half": round(float(np.mean((o[part == 1] >= best) == y[part == 1])), 3), "auc": round(float(auc), 3)}


def generator_scores(p, c, enc, count=60, seed=930000000):
    """Households of the generator from seeds never trained on, as `households.py` writes them; yes: raised in the last three episodes."""
    items, truth = [], []
    for i in range(count):
        rng = random.Random(seed * 7919 + i); home = hh.Household(seed + i, noise=rng.choice([0, 0.02]), alert_rate=rng.choice([0.2, 0.4])); want = rng.choice([40, 80, 150, 300, 600]); said = []
        while sum(len(e.text.split()) for e in said) < want: said.append(home.episode())
        last, recent = said[-3:], said[-4:]; raised = sorted({a for e in last for a in e.alerts}); facts = [f for e in recent for f in e.facts]
        ks = raised[:2] + rng.sample([k for k in hh.ALERTS if k not in raised], 2); qs = [(rng.choice(hh.ALERTS[k]), None) for k in ks]
        fq = []
        if facts: q = rng.choice(facts)[0]; fq = [(q, [a for x, a in facts if x == q][-1])]
        ids = list(enc(OPEN))
        for e in said: ids += enc(" " + e.text)
        items.append((ids, qs + fq)); truth.append([k in raised for k in ks])
    r = ask(p, c, enc, items, 4); tp = fp = fn = 0; facts = [0, 0]
    for x, t in zip(r, truth):
        for (o, _), y in zip(x, t): tp += o > 0 and y; fp += o > 0 and not y; fn += o <= 0 and y
        for _, ok in x[len(t):]: facts[0] += ok; facts[1] += 1
    return {"F1": round(2 * tp / max(1, 2 * tp + fp + fn), 3), "tp fp fn": [int(tp), int(fp), int(fn)], "facts": facts}


def main():
    ap = argparse.ArgumentParser(); ap.add_argument("model"); ap.add_argument("--tokenizer", default=""); ap.add_argument("--rooms", action="store_true"); ap.add_argument("--json", default=""); ap.add_argument("--most", type=int, default=10 ** 9); ap.add_argument("--quick", action="store_true", help="only the written exchanges")
    a = ap.parse_args(); torch.set_num_threads(1)
    p, c, enc = load(a.model, a.tokenizer)
    s = written_scores(p, c, enc, rooms=a.rooms, most=a.most)
    print("kind       " + "  ".join(f"{k:>8}" for k in KINDS + ["mean"]))
    for how in ("line", "same", "kept"):
        if how not in s: continue
        for rate in RATES:
            v = s[how][str(rate)]; print(f"{how} {rate:.1%} " + "  ".join(f"{x:8.2f}" for x in v + [float(np.mean(v))]) + (f"   false {s['kept false'][str(rate)]:.2%}" if how == "kept" else ""))
    share = lambda v: f"{v[0]}/{v[1]} = {v[0] / max(1, v[1]):.2f}"
    print(f"at 0.5: recall {s['at 0.5']['recall']:.2f}, false {s['at 0.5']['false']:.2%}; cross-talk worst {s['cross-talk worst']}, mean {s['cross-talk mean']:.3f}")
    print(f"facts {share(s['facts'])}; not said (asked beside the exchange) {share(s['not said, of the exchange'])}, (another's question) {share(s['not said, of another'])}")
    if not a.quick:
        s["household"] = household_scores(p, c, enc, a.rooms); print("a household's own questions", s["household"])
        s["generator"] = generator_scores(p, c, enc); print("generator", s["generator"])
    if a.json: json.dump(s, open(a.json, "w"), indent=1)


if __name__ == "__main__":
    main()
