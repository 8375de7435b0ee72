"""Trains the watcher: a hashed n-gram logistic regression that says in microseconds whether talk may be about one of the eight kinds.

    python watcher.py                   # trains on the training part, writes ../models/watcher.safetensors and the texts of the test, prints scores
    python watcher.py --choose          # compares settings on a seventh of the training part

It needs the prose of `text.py` (`apt install fortunes wordnet-base`). `src/watcher.rs` reads the file and must compute the same; `tests/fixtures/watcher.jsonl` holds texts with what is to come out.
"""
import argparse, json, os, random, re, struct, time, unicodedata, zlib
from functools import lru_cache
import numpy as np
from scipy.optimize import minimize
from scipy.sparse import csr_matrix
import household as hh, split, text as free_text, written as W
from episodes import KINDS, looser

HERE = os.path.dirname(os.path.abspath(__file__))
BUCKETS = 110_000
WORDS, CHARS = (1, 3), (2, 5)      # lengths of the n-grams of words, and of characters within a word and its borders
WINDOWS = (15, 30, 60)             # the last utterances of so many words are scored, and the highest score counts
TRAINED = 40                       # words of the texts it is trained on
LOW = 0.1                          # share of exchanges without the kind that are worth a question
EVENTS, PROSE = 1500, 10_000       # texts of the generator's events, and of prose, that it is trained on
RATES = (0.005, 0.02, 0.05, 0.1, 0.2)


# ------------------------------------------------------------ the same in Rust
def words(text):
    """Lower case, without accents; a word is a run of letters, digits and apostrophes."""
    plain = "".join(c for c in unicodedata.normalize("NFKD", text.replace("’", "'")) if not unicodedata.combining(c)).lower()
    return re.findall(r"(?:[^\W_]|')+", plain)


@lru_cache(300_000)
def bucket(gram): return zlib.crc32(gram.encode()) % BUCKETS


@lru_cache(100_000)
def char_grams(word):
    w = f" {word} "
    return tuple(bucket("c" + w[i:i + n]) for n in range(CHARS[0], CHARS[1] + 1) for i in range(len(w) - n + 1))


def counts(text):
    """{bucket: count} of n-grams of words, and of those of characters."""
    ws = words(text); a, b = {}, {}
    for n in range(WORDS[0], WORDS[1] + 1):
        for i in range(len(ws) - n + 1): k = bucket("w" + " ".join(ws[i:i + n])); a[k] = a.get(k, 0) + 1
    for w in ws:
        for k in char_grams(w): b[k] = b.get(k, 0) + 1
    return a, b


def rows(texts, idf=None):
    """A row for each text; each of the two kinds of n-grams has length 1, counts go in as 1 + ln(count)."""
    data, index, ptr = [], [], [0]
    for t in texts:
        for view in counts(t):
            k = np.fromiter(view.keys(), np.int64, len(view)); v = 1 + np.log(np.fromiter(view.values(), np.float64, len(view)))
            if idf is not None: v = v * idf[k]
            v /= max(1e-9, np.sqrt(np.sum(v * v))); data.append(v); index.append(k)
        ptr.append(ptr[-1] + sum(len(x) for x in data[-2:]))
    x = csr_matrix((np.concatenate(data).astype(np.float32), np.concatenate(index), ptr), shape=(len(texts), BUCKETS)); x.sum_duplicates(); return x


def window(parts, most=TRAINED):
    """The last utterances of together at most `most` words, the newest in any case."""
    out, n = [], 0
    for p in reversed(parts):
        n += len(p.split())
        if out and n > most: break
        out.insert(0, p)
    return " ".join(out)


# ------------------------------------------------------------ what it is trained on
def calm(rng, n):
    """Talk of the generator in which nothing is wrong."""
    home = hh.Household(rng.randrange(1 << 40), noise=rng.choice([0, 0.02]), alert_rate=0.0); home.rng = rng
    return [home.episode().text for _ in range(n)]


def events(rng, n, before=(0, 0, 0, 1)):
    """[(utterances of calm talk, of an event of the generator, its kinds)]"""
    out = []
    for i in range(n):
        if i % 20 == 0: home = hh.Household(rng.randrange(1 << 40), noise=rng.choice([0, 0.02]), alert_rate=1.0); home.rng = rng
        e = home.episode(); out.append((calm(rng, rng.choice(before)), re.split(r"(?<=[.!?]) ", e.text), set(e.alerts)))
    return out


@lru_cache(1)
def prose():
    """Lines of jokes, quotations and example sentences in three parts, by blocks of 50: to train on, to choose by (half 0), to judge by (half 1).

    The example sentences of a dictionary are only trained on: "The car is still running, turn it off!" says what a rule listens for."""
    jokes = list(dict.fromkeys(free_text.fortunes())); lines = list(dict.fromkeys([*jokes, *free_text.wordnet()]))
    if len(lines) < 50_000: raise SystemExit("there is too little prose: apt install fortunes wordnet-base")
    counts = lambda i: i < len(jokes) and len(lines[i].split()) >= 6
    return {name: [i for i in range(len(lines)) if i // 50 % 3 == part and (name == "train" or counts(i))] for part, name in enumerate(("train", 0, 1))}, lines


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


def document_idf(texts, least):
    df = np.zeros(BUCKETS)
    for t in texts:
        a, b = counts(t); df[list(a.keys() | b.keys())] += 1
    idf = np.log((1 + len(texts)) / (1 + df)) + 1; idf[df < least] = 0
    return idf.astype(np.float16).astype(np.float64)


def fit(x, y, c, steps=60):
    """All kinds at once; the strength of the penalty is 1/c, as in scikit-learn."""
    n, k = x.shape[1], y.shape[1]; sign = np.where(y, 1.0, -1.0); xt = x.T.tocsr()
    def loss(p):
        w, b = p[:n * k].reshape(n, k), p[n * k:]; m = sign * (x @ w + b)
        g = -sign / (1 + np.exp(m)); return c * np.logaddexp(0, -m).sum() + 0.5 * (w * w).sum(), np.concatenate([(c * (xt @ g) + w).ravel(), c * g.sum(0)])
    p = minimize(loss, np.concatenate([np.zeros(n * k), np.full(k, -3.0)]), jac=True, method="L-BFGS-B", options={"maxiter": steps, "maxcor": 6}).x
    return p[:n * k].reshape(n, k).astype(np.float16), p[n * k:].astype(np.float32)


def limit(p, y, rate): no = np.sort(p[~y])[::-1]; return float(no[max(1, int(rate * len(no)))])
def recalls(p, y): return np.array([[np.mean(p[y[:, j], j] > limit(p[:, j], y[:, j], r)) for r in RATES] for j in range(len(KINDS))])


def show(name, r): print(f"{name:34} " + ", ".join(f"{x:.3f} at {q:.1%}" for x, q in zip(r, RATES)), flush=True)


class Model:
    def __init__(self, texts, y, own, c, least=2, use_idf=True):
        self.idf = document_idf(texts[:own], least); self.idf = self.idf if use_idf else (self.idf > 0).astype(float)
        self.w, self.b = fit(rows(texts, self.idf), y, c)
    def alone(self, texts): return rows(texts, self.idf) @ self.w.astype(np.float32) + self.b

    def __call__(self, talks):
        """Of each list of utterances."""
        return np.max([self.alone([window(t, w) for t in talks]) for w in WINDOWS], 0)


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


def load(path):
    """(model, what the file says of itself, CRC-32 of the file)"""
    raw = open(path, "rb").read(); n = struct.unpack("<Q", raw[:8])[0]; head = json.loads(raw[8:8 + n]); m = object.__new__(Model)
    tensor = lambda k: np.frombuffer(raw[8 + n + head[k]["data_offsets"][0]:8 + n + head[k]["data_offsets"][1]], {"F16": np.float16, "F32": np.float32}[head[k]["dtype"]]).reshape(head[k]["shape"])
    m.w, m.idf, m.b = tensor("weights"), tensor("idf").astype(np.float64), tensor("bias"); return m, json.loads(head["__metadata__"]["watcher"]), zlib.crc32(raw)


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
    import calibrate
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
