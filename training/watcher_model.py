"""The watcher: a hashed n-gram logistic regression, its file, and the talk that it is trained and calibrated on.

`src/watcher.rs` reads the file and must compute the same. `watcher.py` trains it, `calibrate.py` makes probabilities of its scores.
The prose needs `text.py` (`apt install fortunes wordnet-base`).
"""
import json, re, struct, unicodedata, zlib
from functools import lru_cache
import numpy as np
from scipy.optimize import minimize
from scipy.sparse import csr_matrix
import household as hh, text as free_text

BUCKETS = 110_000
WORDS, CHARS = (1, 3), (2, 5)      # lengths of the n-grams of words, and of characters within a word and its borders
WINDOWS = (15, 30, 60)             # the last utterances of so many words are scored, and the highest score counts
TRAINED = 40                       # words of the texts it is trained on


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


# ------------------------------------------------------------ the model
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


class Model:
    def __init__(self, texts, y, own, c, least=2, use_idf=True):
        self.idf = document_idf(texts[:own], least); self.idf = self.idf if use_idf else (self.idf > 0).astype(float)
        self.w, self.b = fit(rows(texts, self.idf), y, c)
    def alone(self, texts): return rows(texts, self.idf) @ self.w.astype(np.float32) + self.b

    def __call__(self, talks):
        """Of each list of utterances."""
        return np.max([self.alone([window(t, w) for t in talks]) for w in WINDOWS], 0)


def load(path):
    """(model, what the file says of itself, CRC-32 of the file)"""
    raw = open(path, "rb").read(); n = struct.unpack("<Q", raw[:8])[0]; head = json.loads(raw[8:8 + n]); m = object.__new__(Model)
    tensor = lambda k: np.frombuffer(raw[8 + n + head[k]["data_offsets"][0]:8 + n + head[k]["data_offsets"][1]], {"F16": np.float16, "F32": np.float32}[head[k]["dtype"]]).reshape(head[k]["shape"])
    m.w, m.idf, m.b = tensor("weights"), tensor("idf").astype(np.float64), tensor("bias"); return m, json.loads(head["__metadata__"]["watcher"]), zlib.crc32(raw)


# ------------------------------------------------------------ talk
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
