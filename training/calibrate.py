"""Makes of the watcher's score and the models' log-odds the probability that an event is really there, and chooses the rules' thresholds.

    python calibrate.py events                             # the watcher's second stage: writes models/recurrentgemma-events/calibration.json
    python calibrate.py fit MODEL                          # a small model in the Hugging Face layout: writes MODEL/calibration.json
    python calibrate.py write FOLDER                       # for any other model: talk on which it is calibrated; once
    hearth judge FOLDER --model MODEL --readings READINGS  #   what the model makes of it
    python calibrate.py fit MODEL READINGS                 #   the same from these readings
    python calibrate.py thresholds MODEL                   # a reliability table and thresholds of the rules with what they give
    python calibrate.py raised                             # what raising the thresholds of the default rules costs (docs/alerts.md)

Two steps, each sigmoid(a + b * x + c * y), fitted for each kind to a stream in which one reading in a hundred is an event (`STREAM`):
x the watcher's score and y the event model's log-odds; then x what came of that and y the log-odds of the model that reads along. All
is fitted and chosen on half 0 of the development set, of the books (`books.py`) and of calm talk, and judged on half 1. Where a kind has few
events, its values are drawn to those of all kinds together. The watcher alone (`watcher_alone`) is calibrated when it is trained.
"""
import argparse, json, os, random, zlib
from collections import defaultdict
import numpy as np
from scipy.optimize import minimize
import books, filled, watcher_model as V
from episodes import KINDS

HERE = os.path.dirname(os.path.abspath(__file__))
# Shares of readings in the stream. "written": exchanges of the development set without the kind, most of them near misses or other events.
STREAM = {"event": 0.01, "written": 0.05, "generator": 0.01, "calm": 0.6, "prose": 0.33}
GENERATED = 0.1                    # share of the events that are told in the generator's words, as in the demo
DAY = 2500                         # readings in a day of 20,000 words
NEAR_MISSES = 10                   # assumed: exchanges of a day that are as near to an event as those of the development set without one
CRITICAL = ("help", "fire", "leak", "intruder")
NOT_RULES = ("delivery",)          # there is no default rule for it
MOST = {"critical": 0.25, "other": 0.5, "prose": 0.42}   # most false alarms a day of one kind: in the stream; in a day of nothing but prose
FLOOR = -3.0                       # below this, the model's log-odds tell no more
BINS = (0, 0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9, 1.0001)
sigmoid = lambda x: 1 / (1 + np.exp(-x))
logit = lambda p: float(np.log(p / (1 - p)))


# ------------------------------------------------------------ the talk
def calm_talk(seed, n): return V.calm(random.Random(seed), n)


def lines_behind(texts, i, n=8): return texts[max(0, i - n):i]


def told(n=200, seed=31):
    """Events in the generator's words, as in the demo: lines as `filled.exchanges` has them."""
    for i, (before, parts, kinds) in enumerate(V.events(random.Random(seed), n, (2,))):
        yield {"k": sorted(kinds), "t": " | ".join(parts), "before": before, "half": i % 2, "file": "generator", "line": i}


def utterances(d): return [u.strip() for u in d["t"].split("|") if u.strip()]


def streams(model, calm=12_000):
    """(source, half, texts, indices, scores) of calm talk and prose that are read on and on."""
    novels = list(books.novels())
    for half in (0, 1):
        for source, texts in (("calm", calm_talk(41 + half, calm // 2)), ("prose", sum(novels[half::2], []))):
            index = list(range(8, len(texts)))
            yield source, half, texts, index, np.concatenate([model([lines_behind(texts, i) + [texts[i]] for i in index[at:at + 8000]]) for at in range(0, len(index), 8000)])


# ------------------------------------------------------------ fitting
class Readings:
    """One row a reading: where it is from, half, scores, labels; `total`: of how many readings of this source and half the rows are."""
    def __init__(self): self.rows, self.total = [], defaultdict(float)

    def add(self, source, half, exchange, last, y, w, m=None, count=True):
        self.rows.append((source, half, exchange, last, y, w, np.full(len(KINDS), np.nan) if m is None else m)); self.total[source, half] += count

    def done(self):
        s, h, e, l, y, w, m = zip(*self.rows); self.source, self.half, self.exchange, self.last = np.array(s), np.array(h), np.array(e), np.array(l)
        self.y, self.w, self.m = np.array(y, bool), np.array(w, float), np.array(m, float); return self

    def of(self, j, half):
        """(rows, weights) of kind j: a stream of weight 1."""
        mine = self.half == half; weight = np.zeros(len(mine)); event = mine & self.y[:, j] & self.last
        for source, share in (("written", STREAM["event"] * (1 - GENERATED)), ("generator", STREAM["event"] * GENERATED)):
            rows = event & (self.source == source); weight[rows] = share / max(1, rows.sum())
        for source in ("written", "generator", "calm", "prose"):
            rows = mine & ~self.y[:, j] & (self.source == source); left = self.total[source, half] - (mine & self.y[:, j] & (self.source == source)).sum()
            weight[rows] = STREAM[source] / max(1, left)
        rows = np.flatnonzero(weight > 0); return rows, weight[rows]


def fit(parts, prior=None, width=(1.0, 0.3, 0.3)):
    """parts: [(features, labels, weights)]. a and one factor for each feature, none of them negative."""
    d = parts[0][0].shape[1]
    def loss(p):
        total, g = 0.0, np.zeros(d + 1)
        for x, y, wt in parts:
            # so that each event counts once
            scale = y.sum() / STREAM["event"]; z = p[0] + x @ p[1:]; sign = np.where(y, 1.0, -1.0)
            total += scale * (wt * np.logaddexp(0, -sign * z)).sum(); r = -scale * wt * sign * sigmoid(-sign * z); g += np.concatenate([[r.sum()], x.T @ r])
        if prior is not None: off = (p - prior) / np.array(width[:d + 1]); total += 0.5 * (off * off).sum(); g += off / np.array(width[:d + 1])
        return total, g
    return minimize(loss, np.array([-4.0] + [0.5] * d) if prior is None else prior, jac=True, method="L-BFGS-B", bounds=[(None, None)] + [(0, None)] * d).x


def fit_kinds(r, features, chosen=lambda j: slice(None)):
    """The factors of each kind on half 0, and those of all kinds together."""
    parts = []
    for j in range(len(KINDS)):
        rows, weight = r.of(j, 0); keep = np.zeros(len(r.w), bool); keep[chosen(j)] = True; keep = keep[rows]
        parts.append((features(r, j)[rows[keep]], r.y[rows[keep], j], weight[keep]))
    pooled = fit(parts); return [fit([p], pooled) for p in parts], pooled


def reliability(name, r, p, half=1):
    """What was said and what was so, in the stream, all kinds together."""
    print(f"\nreliability of {name}, half {half}: probability, mean of it, observed, events among them, share of readings")
    all_p, all_y, all_w, events = [], [], [], []
    for j in range(len(KINDS)):
        rows, weight = r.of(j, half); all_p.append(p[rows, j]); all_y.append(r.y[rows, j]); all_w.append(weight)
    q, y, w = map(np.concatenate, (all_p, all_y, all_w))
    for lo, hi in zip(BINS, BINS[1:]):
        m = (q >= lo) & (q < hi)
        if m.any(): print(f"| {lo:.0%} to {min(hi, 1):.0%} | {np.average(q[m], weights=w[m]):.3f} | {np.average(y[m], weights=w[m]):.3f} | {y[m].sum()} | {w[m].sum() / w.sum():.3%} |")


def scored(model, lines, heard=None, events=None, asked=None, low=None):
    """All readings: of exchanges, of calm talk and prose. `heard`: what the model makes of some of them. `events`, `asked`: what is asked
    of talk, [n, 8], wherever the watcher suspects something."""
    heard = heard or {}; r = Readings(); talks, of = [], []
    for n, d in enumerate(lines):
        parts = utterances(d)
        for i in range(1, len(parts) + 1): talks.append(d["before"] + parts[:i]); of.append((n, d, i - 1, len(parts)))
    for w, (n, d, i, count) in zip(model(talks), of):
        source = "generator" if d["file"] == "generator" else "written"
        r.add(source, d["half"], n, i == count - 1, [k in d["k"] for k in KINDS], w, heard.get((d["file"], d["half"], d["line"], i)))
    for source, half, texts, index, scores in streams(model):
        for line, w in zip(index, scores): r.add(source, half, line, True, [False] * len(KINDS), w, heard.get((source, half, line, 0)))
        talks += [lines_behind(texts, i) + [texts[i]] for i in index]
    r = r.done(); r.e = np.full(r.w.shape, np.nan)
    for answers, into in ((events, r.e), (asked, r.m)):
        if answers:
            rows = np.flatnonzero((r.w >= low).any(1)); into[rows] = answers([talks[i] for i in rows])
    return r


class Asked:
    """A small model in the Hugging Face layout, asked about all eight kinds after talk of which it reads the last `words` words."""
    def __init__(self, folder, words):
        import judge
        self.judge, self.words = judge, words; self.p, self.c, self.enc = judge.load(folder)

    def __call__(self, talks):
        from episodes import DEFAULT
        from tokenizer import OPEN
        items = [(list(self.enc(OPEN)) + self.enc(" " + V.window(t, self.words))[-400:], [(DEFAULT[k], None) for k in KINDS]) for t in talks]
        return np.array([[o for o, _ in x] for x in self.judge.ask(self.p, self.c, self.enc, items, 24)])


def development(): return list(filled.exchanges()) + list(told())


def watcher_alone(model):
    """a and b of each kind, for the watcher's metadata."""
    r = scored(model, development()); found, pooled = fit_kinds(r, lambda r, j: r.w[:, [j]])
    print("\nwatcher alone: " + ", ".join(f"{k} {a:.2f} {b:.2f}" for k, (a, b) in zip(KINDS, found)) + f"; all {pooled.round(2)}")
    p = sigmoid(np.array([a + b * r.w[:, j] for j, (a, b) in enumerate(found)]).T); reliability("the watcher alone", r, p); choose(r, p); return found


# ------------------------------------------------------------ the folder and what came of it
def write(folder, suspected=400, others=25):
    """The development set, events of the generator, and a sample of calm talk and prose: what the watcher suspects, and any."""
    model, meta, _ = V.load(WATCHER); low = np.array(meta["low"]); os.makedirs(folder, exist_ok=True); rng = random.Random(51)
    with open(os.path.join(folder, "exchanges.jsonl"), "w", encoding="utf-8") as f:
        for d in development(): f.write(json.dumps(d, ensure_ascii=False) + "\n")
        for source, half, texts, index, scores in streams(model):
            asked = (scores >= low).any(1); some = [i for i, a in zip(index, asked) if a]
            for i in sorted(set(rng.sample(some, min(suspected, len(some))) + rng.sample(index, others))):
                f.write(json.dumps({"k": [], "t": texts[i].replace("|", "/"), "before": lines_behind(texts, i, 3), "half": half, "file": source, "line": i}, ensure_ascii=False) + "\n")


def heard(paths):
    """{(file, half, line, reading): log-odds of the model} from what `hearth judge` wrote: eight lines, one a kind, after each utterance."""
    out, at = {}, defaultdict(int)
    for path in paths:
        lines = [json.loads(l) for l in open(path)]
        for n in range(0, len(lines), len(KINDS)):
            by = {d["kind"]: d["model"] for d in lines[n:n + len(KINDS)]}; key = lines[n]["file"], lines[n]["half"], lines[n]["line"]
            if set(by) != set(KINDS): raise SystemExit(f"{path}, line {n + 1}: not one reading of each kind")
            out[(*key, at[key])] = np.array([by[k] for k in KINDS], float); at[key] += 1
    return out


EVENTS, WATCHER = (os.path.join(HERE, "../models", name) for name in ("recurrentgemma-events", "watcher.safetensors"))


def factors(folder): return json.load(open(os.path.join(folder, "calibration.json")))


def together(found, x, y):
    """What comes of `x` and the log-odds `y` by the factors of a calibration.json."""
    f = [found["kinds"][k] for k in KINDS]; column = lambda name: np.array([k[name] for k in f])
    return column("a") + column("watcher") * x + column("model") * np.maximum(y, found["floor"])


def without_a_model(r, low, alone):
    """Log-odds by the watcher, with its second stage where that was asked."""
    n_grams = np.array([a for a, _ in alone]) + np.array([b for _, b in alone]) * r.w
    return np.where((r.w >= low) & ~np.isnan(r.e), together(factors(EVENTS), r.w, np.nan_to_num(r.e)), n_grams)


def readings(model="", paths=(), events=True):
    """(readings, lowest scores that the watcher suspects, its own factors, its CRC)"""
    watcher, meta, crc = V.load(WATCHER); low = np.array(meta["low"])
    asked = Asked(model, 200) if model and not paths else None
    return scored(watcher, development(), heard(paths), Asked(EVENTS, V.WINDOWS[-1]) if events else None, asked, low), low, meta["alone"], crc


def crc_of(*path): return zlib.crc32(open(os.path.join(*path), "rb").read())


def save(folder, checksum, kinds, own, **more):
    kinds = {k: dict(zip(("a", "watcher", "model"), (round(float(x), 4) for x in f))) for k, f in zip(KINDS, kinds)}
    found = {"format": 1, "watcher": checksum, "floor": FLOOR, **more, "kinds": kinds, "own": {"a": round(float(own[0]), 4), "model": round(float(own[1]), 4)}}
    with open(os.path.join(folder, "calibration.json"), "w") as f: json.dump(found, f, indent=1); f.write("\n")
    for k, f in kinds.items(): print(f"{k:9}", f)


def fit_events():
    """The second stage of the watcher."""
    r, low, _, crc = readings(); y = np.maximum(r.e, FLOOR); own = fit_kinds(r, lambda r, j: y[:, [j]], lambda j: r.w[:, j] >= low[j])[1]
    kinds, pooled = fit_kinds(r, lambda r, j: np.stack([r.w[:, j], y[:, j]], 1), lambda j: r.w[:, j] >= low[j]); print("all kinds:", pooled.round(3)); save(EVENTS, crc, kinds, own, weights=crc_of(EVENTS, "model.safetensors"))


def fit_model(target, paths):
    r, low, alone, _ = readings(target, paths); base = without_a_model(r, low, alone); asked = ~np.isnan(r.m[:, 0])
    missing = np.isin(r.source, ("written", "generator")) & (r.w >= low).any(1) & ~asked
    if missing.any(): raise SystemExit(f"the model has not read {missing.sum()} of the exchanges")
    for s in ("calm", "prose"):
        # The model reads a sample; what it was not asked about gets the mean.
        mine = r.source == s; r.m[mine & ~asked] = r.m[mine & asked].mean(0)
    r.m = np.where(np.isnan(r.m), FLOOR, np.maximum(r.m, FLOOR)); own = fit_kinds(r, lambda r, j: r.m[:, [j]])[1]
    kinds, pooled = fit_kinds(r, lambda r, j: np.stack([base[:, j], r.m[:, j]], 1), lambda j: r.w[:, j] >= low[j]); print("all kinds:", pooled.round(3), "the model alone:", own.round(3))
    save(target, crc_of(EVENTS, "calibration.json"), kinds, own)


def thresholds(target, paths):
    """What is published with this model, how reliable it is, and thresholds."""
    r, low, alone, _ = readings(target, paths); base = without_a_model(r, low, alone); sigmoids = lambda z: 1 / (1 + np.exp(-z))
    reliability("the watcher with its second stage", r, sigmoids(base)); p = sigmoids(np.where((r.w >= low) & ~np.isnan(r.m), together(factors(target), base, np.nan_to_num(r.m)), base))
    reliability("what is published", r, p); choose(r, p)
    from judge import RATES, recall
    last = (r.source == "written") & r.last
    for name, z in (("n-grams", r.w), ("event model", np.where(np.isnan(r.e), -9, r.e)), ("both", base), ("published", p)):
        print(f"{name}: mean recall at 0.5 / 2 / 5 % false yeses of the exchanges", " / ".join(f"{np.mean([recall(z[last, j], r.y[last, j], rate) for j in range(8)]):.2f}" for rate in RATES))


def raised(p, enter, hits, of):
    """Where alerts would begin in the readings `p` of one piece of talk: the index of the first, or None."""
    over = p >= enter
    for i in range(len(p)):
        if over[i] and over[max(0, i - of + 1):i + 1].sum() >= hits: return i
    return None


def outcome(r, p, j, half, enter, confirm):
    """(recall of written events, false alarms a day in the stream, in a day of prose, of calm talk)."""
    mine = (r.half == half); written = mine & (r.source == "written"); ids = r.exchange[written]; hit = event = false = other = 0
    for _, rows in groups(ids, np.flatnonzero(written)):
        at = raised(p[rows, j], enter, *confirm)
        if r.y[rows[0], j]: event += 1; hit += at is not None
        else: other += 1; false += at is not None
    a_day = {"written": false / max(1, other) * NEAR_MISSES}
    for source in ("calm", "prose"):
        # readings close to each other are one alert
        lines = np.sort(r.exchange[mine & (r.source == source) & (p[:, j] >= enter)]); count = int((np.diff(lines, prepend=-1000) > 20).sum())
        a_day[source] = count / r.total[source, half] * DAY
    return hit / max(1, event), a_day["written"] + sum(STREAM[s] * a_day[s] for s in ("calm", "prose")), a_day["prose"], a_day["calm"]


def groups(ids, rows):
    out = defaultdict(list)
    for i, row in zip(ids, rows): out[i].append(row)
    return [(i, np.array(v)) for i, v in out.items()]


def ended(r, p, j, half, enter, leave):
    """Share of the alerts of written events that are over before the exchange is."""
    over = begun = 0; mine = (r.half == half) & (r.source == "written") & r.y[:, j]
    for _, rows in groups(r.exchange[mine], np.flatnonzero(mine)):
        at = raised(p[rows, j], enter, 1, 1)
        if at is not None: begun += 1; over += bool((p[rows[at:], j] < leave).any())
    return over / max(1, begun)


def choose(r, p):
    """Prints `enter`, `exit` and `confirm` of each rule, chosen on half 0, and what they give on half 1."""
    print("\nthresholds chosen on half 0, judged on half 1: recall of written events while they are told; false alarms in a day of the stream, of prose, of calm talk")
    print("| rule | enter | exit | confirm | events | recall | false a day, stream | prose | calm |"); sums = np.zeros(3)
    for j, k in enumerate(KINDS):
        best = None
        for confirm in ((1, 1), (2, 2), (2, 3)):
            for enter in (*np.round(np.arange(0.5, 0.95, 0.05), 2), 0.95, 0.97, 0.98):
                recall, mixed, prose, calm = outcome(r, p, j, 0, enter, confirm)
                if mixed <= MOST["critical" if k in CRITICAL else "other"] and prose <= MOST["prose"]:
                    # another way to confirm must bring something
                    if best is None or recall > best[0] + 0.03: best = recall, enter, confirm
                    break
        # Where no threshold is strict enough, the strictest.
        if best is None: best = None, 0.98, (1, 1)
        _, enter, confirm = best; leave = max([x for x in (0.02, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4) if x < enter and ended(r, p, j, 0, enter, x) <= 0.1], default=0.2)
        recall, mixed, prose, calm = outcome(r, p, j, 1, enter, confirm); n = len(groups(r.exchange[(r.half == 1) & (r.source == "written") & r.y[:, j]], np.zeros(10 ** 6)))
        if k not in NOT_RULES: sums += [mixed, prose, calm]
        print(f"| {k} | {enter} | {leave} | {confirm[0]} of {confirm[1]} | {n} | {recall:.2f} | {mixed:.2f} | {prose:.2f} | {calm:.2f} |")
    print(f"all default rules: {sums[0]:.2f} false alarms in a day of the stream, {sums[1]:.2f} of prose, {sums[2]:.2f} of calm talk")


ENTER = {"help": 0.85, "fire": 0.5, "leak": 0.5, "intruder": 0.85, "door": 0.9, "medicine": 0.9, "left_on": 0.85}   # of the default rules


def raised_thresholds():
    """Recall and false alarms by the watcher where the thresholds are raised, as false alarms raise them: the mean of both halves."""
    r, low, alone, _ = readings(); p = sigmoid(without_a_model(r, low, alone))
    for name, kinds in (("critical", CRITICAL), ("other", [k for k in ENTER if k not in CRITICAL])):
        for shift in (0, 0.5, 1, 2, 3):
            got = np.array([[outcome(r, p, KINDS.index(k), half, sigmoid(logit(ENTER[k]) + shift), (1, 1))[:2] for k in kinds] for half in (0, 1)]).mean(0)
            print(f"{name} rules, raised by {shift}: mean recall {got[:, 0].mean():.2f}, {got[:, 1].sum():.2f} false alarms a day together")


if __name__ == "__main__":
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter); sub = ap.add_subparsers(dest="what", required=True)
    for name in ("events", "raised"): sub.add_parser(name)
    c = sub.add_parser("write"); c.add_argument("folder")
    for name in ("fit", "thresholds"): c = sub.add_parser(name); c.add_argument("model"); c.add_argument("readings", nargs="*")
    a = ap.parse_args()
    {"write": lambda: write(a.folder), "events": fit_events, "fit": lambda: fit_model(a.model, a.readings), "thresholds": lambda: thresholds(a.model, a.readings), "raised": raised_thresholds}[a.what]()
