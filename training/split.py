"""Which exchanges are kept from training: a fifth of the corpus by whole exchange, and a fifth of a household's own questions.

The part follows from a hash of the exchange's words, so everybody gets the same one, whatever the order of files. The development
set has two halves: thresholds and stopping are chosen on the first, reported are the second and the whole. Files `h*.jsonl` are for
training only.
"""
import glob, hashlib, json, os, re

HERE = os.path.dirname(os.path.abspath(__file__)); CORPUS = os.path.join(HERE, "corpus")


def number(text):
    return int(hashlib.sha256(re.sub(r"\W+", " ", text.lower()).strip().encode()).hexdigest()[:8], 16)


def is_dev(text): return number(text) % 5 == 0
def half(text): return number(text) // 5 % 2


def exchanges(folder=CORPUS):
    """(training, development): lines {"k", "t", "s", "q", "file", "line"}."""
    train, dev = [], []
    for path in sorted(glob.glob(os.path.join(folder, "[wh]*.jsonl"))):
        name = os.path.basename(path)
        # The number of a line tells which lines are a pair, also after one of them was kept from training.
        for number_of_line, line in enumerate(l for l in open(path, encoding="utf-8") if l.strip()):
            d = json.loads(line) | {"file": name, "line": number_of_line}
            (dev if name[0] == "w" and is_dev(d["t"]) else train).append(d)
    return train, dev


def questions(folder=CORPUS):
    """(training, development): lines {"question", "also", "yes", "no"}."""
    train, dev = [], []
    for path in sorted(glob.glob(os.path.join(folder, "y*.jsonl")) + glob.glob(os.path.join(folder, "g*.jsonl"))):
        for line in open(path, encoding="utf-8"):
            if not line.strip(): continue
            d = json.loads(line)
            (dev if os.path.basename(path)[0] == "y" and is_dev(d["question"]) else train).append(d)
    return train, dev


if __name__ == "__main__":
    (a, b), (c, d) = exchanges(), questions()
    print(f"exchanges {len(a)} + {len(b)}, questions {len(c)} + {len(d)}; halves {[sum(half(x['t']) == h for x in b) for h in (0, 1)]}")
    for k in ("help", "fire", "leak", "intruder", "door", "delivery", "medicine", "left_on"): print(k, sum(k in x["k"] for x in a), sum(k in x["k"] for x in b), end="; ")
    print()
