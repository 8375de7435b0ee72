"""Trains the watcher: a hashed n-gram logistic regression that says in microseconds whether talk may be about one of the eight kinds.

    python watcher.py                   # trains on the training part, writes ../models/watcher.safetensors and the texts of the test, prints scores
    python watcher.py --choose          # compares settings on a seventh of the training part

It needs the prose of `text.py` (`apt install fortunes wordnet-base`). `watcher_model.py` is what it trains; `src/watcher.rs` reads the file and must compute the same; `tests/fixtures/watcher.jsonl` holds texts with what is to come out.
"""
import argparse, json, os, random, struct
import numpy as np
import calibrate, household as hh, split, written as W
from episodes import KINDS, looser
from watcher_model import CHARS, WINDOWS, WORDS, Model, calm, events, prose, window

HERE = os.path.dirname(os.path.abspath(__file__))
LOW = 0.1                          # share of exchanges without the kind that are worth a question
EVENTS, PROSE = 1500, 10_000       # texts of the generator's events, and of prose, that it is trained on
RATES = (0.005, 0.02, 0.05, 0.1, 0.2)


# ------------------------------------------------------------ what it is trained on
def material(lines, rng, times=2, alone=0.7, calm_texts=2000):
    texts, kinds = [], []
    for d in lines:
        for _ in range(times):
            t, _, _, k = W.fill(d, rng); parts = looser([hh.sentence_case(u.strip()) for u in t.split("|")], rng)
            # the daemon sees an exchange behind other talk
            before = [] if rng.random() < alone else calm(rng, rng.choice([1, 1, 2]))
            texts.append(window(before + parts)); kinds.append(set(k))
    for _ in range(calm_texts): texts.append(window(calm(rng, rng.choice([1, 2, 4])))); kinds.append(set())
    for before, parts, k in events(rng, EVENTS): texts.append(window(before + parts)); kinds.append(k)
    own = len(texts); of, free = prose()
    for i in rng.sample(of["train"], PROSE): texts.append(window(free[max(0, i - rng.choice([0, 0, 1, 3])):i + 1])); kinds.append(set())
    return texts, np.array([[k in s for k in KINDS] for s in kinds]), own


def limit(p, y, rate): no = np.sort(p[~y])[::-1]; return float(no[max(1, int(rate * len(no)))])
def recalls(p, y): return np.array([[np.mean(p[y[:, j], j] > limit(p[:, j], y[:, j], r)) for r in RATES] for j in range(len(KINDS))])


def show(name, r): print(f"{name:34} " + ", ".join(f"{x:.3f} at {q:.1%}" for x, q in zip(r, RATES)), flush=True)


# ------------------------------------------------------------ scores
def told(lines, seed):
    """(calm talk before it, utterances, kinds, half) of each exchange, one utterance for each "|"."""
    rng = random.Random(seed); out = []
    for d in lines:
        t, _, _, k = W.fill(d, rng); out.append((calm(rng, 4), [hh.sentence_case(u.strip()) for u in t.split("|")], set(k), split.half(d["t"])))
    return out


def while_told(model, exchanges):
    """The highest score while the exchange is told, a reading after each utterance."""
    talks, of = [], []
    for i, (before, parts, _, _) in enumerate(exchanges):
        for n in range(1, len(parts) + 1): talks.append(before + parts[:n]); of.append(i)
    p = model(talks); out = np.full((len(exchanges), len(KINDS)), -np.inf); np.maximum.at(out, of, p); return out


def stream(rng, n):
    """The talk at each of n readings while the generator tells calm episodes."""
    said = calm(rng, n); return [said[max(0, i - 8):i + 1] for i in range(n)]


def write(path, model, meta):
    tensors = {"weights": model.w, "idf": model.idf.astype(np.float16), "bias": model.b}; head, at = {"__metadata__": {"watcher": json.dumps(meta)}}, 0
    for k, v in tensors.items(): head[k] = {"dtype": {"float16": "F16", "float32": "F32"}[str(v.dtype)], "shape": list(v.shape), "data_offsets": [at, at + v.nbytes]}; at += v.nbytes
    text = json.dumps(head).encode(); text += b" " * (-len(text) % 8)
    with open(path + ".new", "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text)
        for v in tensors.values(): f.write(np.ascontiguousarray(v).tobytes())
    os.replace(path + ".new", path)


def choose():
    """Compares settings on a seventh of the training part, by whole exchange."""
    lines = split.exchanges()[0]; valid = told([d for d in lines if split.number(d["t"]) % 7 == 3], 5); train = [d for d in lines if split.number(d["t"]) % 7 != 3]
    y = np.array([[k in x[2] for k in KINDS] for x in valid])
    for alone, c, use_idf in [(1.0, 8, True), (0.5, 8, True), (0.7, 8, True), (0.7, 30, True), (0.7, 8, False)]:
        m = Model(*material(train, random.Random(3), alone=alone), c, use_idf=use_idf); print(f"alone {alone} C {c} idf {use_idf}")
        show("  alone", recalls(m.alone([" ".join(x[1]) for x in valid]), y).mean(0)); show("  behind calm talk", recalls(m([x[0] + x[1] for x in valid]), y).mean(0))
        for w in (30, 60): show(f"  behind calm talk, {w} words only", recalls(m.alone([window(x[0] + x[1], w) for x in valid]), y).mean(0))


def main():
    ap = argparse.ArgumentParser(); ap.add_argument("--choose", action="store_true"); ap.add_argument("--out", default=os.path.join(HERE, "../models/watcher.safetensors")); a = ap.parse_args()
    if a.choose: return choose()
    model = Model(*material(split.exchanges()[0], random.Random(3)), 8.0); dev = told(split.exchanges()[1], 5); y = np.array([[k in x[2] for k in KINDS] for x in dev]); half = np.array([x[3] for x in dev])
    show("exchange alone", recalls(model.alone([" ".join(x[1]) for x in dev]), y).mean(0)); show("behind calm talk", recalls(model([x[0] + x[1] for x in dev]), y).mean(0))
    p = while_told(model, dev); first, second = half == 0, half == 1
    low = [limit(p[first, j], y[first, j], LOW) for j in range(len(KINDS))]; calm_p = model(stream(random.Random(11), 6000))
    print("\nworth a question; threshold of the first half, judged on the second; readings after each utterance, of the whole exchange the highest")
    for j, k in enumerate(KINDS):
        t = y[second, j]; over = p[second, j] > low[j]; print(f"{k:9} {t.sum():4}  recall {over[t].mean():.2f}, false {over[~t].mean():6.2%}, of calm talk {(calm_p[:, j] > low[j]).mean():.2%}")
    alone = calibrate.watcher_alone(model)
    f32 = lambda v: [round(float(x), 4) for x in v]
    write(a.out, model, {"format": 2, "kinds": KINDS, "words": WORDS, "chars": CHARS, "windows": WINDOWS, "low": f32(low), "alone": [f32(v) for v in alone]})
    with open(os.path.join(HERE, "../tests/fixtures/watcher.jsonl"), "w") as f:
        odd = [[""], ["Fire!"], ["Il a laissé la fenêtre ouverte, Zoë’s ﬁne."], ["ΟΔΟΣ Straße İstanbul", "½ naïve —  don't 'x'"], ["火事だ"], ["help " * 200]]
        for talk in odd + [x[0][-2:] + x[1] for x in dev[::40]]: f.write(json.dumps({"talk": talk, "scores": f32(model([talk])[0])}, ensure_ascii=False) + "\n")


if __name__ == "__main__": main()
