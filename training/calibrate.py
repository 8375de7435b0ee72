"""Makes of the watcher's score and the model's log-odds the probability that an event is really there, and chooses the rules' thresholds.

    python calibrate.py write FOLDER                       # talk on which a model is calibrated; once
    hearth judge FOLDER --model MODEL --readings READINGS  # what the model makes of it; again for another model
    python calibrate.py raised                             # what raising the thresholds of the default rules costs (docs/alerts.md)
    python calibrate.py fit READINGS MODEL                 # writes MODEL/calibration.json, prints a reliability table and the thresholds

p = sigmoid(a + b * watcher + c * model), fitted for each kind to a stream in which one reading in a hundred is an event (`STREAM`). All
is fitted and chosen on half 0 of the development set, of the prose and of calm talk, and judged on half 1. Where a kind has few events,
its values are drawn to those of all kinds together. The watcher alone (`watcher_alone`) is calibrated when it is trained. The watcher's
scores are computed here, so that after it was trained anew only `fit` is run again.
"""
import argparse, json, os, random
from collections import defaultdict
import numpy as np
from scipy.optimize import minimize
import filled, watcher_model as V
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
    of, free = V.prose()
    for half in (0, 1):
        texts = calm_talk(41 + half, calm // 2); index = list(range(8, len(texts)))
        for source, texts, index in (("calm", texts, index), ("prose", free, of[half])):
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


def scored(model, lines, heard=None):
    """All readings: of exchanges, of calm talk and prose. `heard`: what the model makes of some of them."""
    heard = heard or {}; r = Readings(); talks, of = [], []
    for n, d in enumerate(lines):
        parts = utterances(d)
        for i in range(1, len(parts) + 1): talks.append(d["before"] + parts[:i]); of.append((n, d, i - 1, len(parts)))
    for w, (n, d, i, count) in zip(model(talks), of):
        source = "generator" if d["file"] == "generator" else "written"
        r.add(source, d["half"], n, i == count - 1, [k in d["k"] for k in KINDS], w, heard.get((d["file"], d["half"], d["line"], i)))
    for source, half, texts, index, scores in streams(model):
        for line, w in zip(index, scores): r.add(source, half, line, True, [False] * len(KINDS), w, heard.get((source, half, line, 0)))
    return r.done()


def development(): return list(filled.exchanges()) + list(told())


def watcher_alone(model):
    """a and b of each kind, for the watcher's metadata."""
    r = scored(model, development()); found, pooled = fit_kinds(r, lambda r, j: r.w[:, [j]])
    print("\nwatcher alone: " + ", ".join(f"{k} {a:.2f} {b:.2f}" for k, (a, b) in zip(KINDS, found)) + f"; all {pooled.round(2)}")
    p = sigmoid(np.array([a + b * r.w[:, j] for j, (a, b) in enumerate(found)]).T); reliability("the watcher alone", r, p); choose(r, p); return found


# ------------------------------------------------------------ the folder and what came of it
def write(folder, suspected=75, others=25):
    """The development set, events of the generator, and a sample of calm talk and prose: what the watcher suspects, and any."""
    model, meta, _ = V.load(os.path.join(HERE, "../models/watcher.safetensors")); low = np.array(meta["low"]); os.makedirs(folder, exist_ok=True); rng = random.Random(51)
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


def probabilities(r, low, alone, both):
    """What is published: the model is asked where the watcher suspects something."""
    asked = r.w >= low; z = np.array([[a + b * w for (a, b), w in zip(alone, row)] for row in r.w])
    z2 = np.array([[a + b * w + c * m for (a, b, c), w, m in zip(both, row, model)] for row, model in zip(r.w, r.m)]); return sigmoid(np.where(asked, z2, z))


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
            for enter in (*np.round(np.arange(0.5, 0.95, 0.05), 2), 0.95):
                recall, mixed, prose, calm = outcome(r, p, j, 0, enter, confirm)
                if mixed <= MOST["critical" if k in CRITICAL else "other"] and prose <= MOST["prose"]:
                    # another way to confirm must bring something
                    if best is None or recall > best[0] + 0.03: best = recall, enter, confirm
                    break
        # Where no threshold is strict enough, the strictest.
        if best is None: best = None, 0.95, (1, 1)
        _, enter, confirm = best; leave = max([x for x in (0.02, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4) if x < enter and ended(r, p, j, 0, enter, x) <= 0.1], default=0.2)
        recall, mixed, prose, calm = outcome(r, p, j, 1, enter, confirm); n = len(groups(r.exchange[(r.half == 1) & (r.source == "written") & r.y[:, j]], np.zeros(10 ** 6)))
        if k not in NOT_RULES: sums += [mixed, prose, calm]
        print(f"| {k} | {enter} | {leave} | {confirm[0]} of {confirm[1]} | {n} | {recall:.2f} | {mixed:.2f} | {prose:.2f} | {calm:.2f} |")
    print(f"all default rules: {sums[0]:.2f} false alarms in a day of the stream, {sums[1]:.2f} of prose, {sums[2]:.2f} of calm talk")


def fit_model(paths, target):
    model, meta, crc = V.load(os.path.join(HERE, "../models/watcher.safetensors")); low = np.array(meta["low"]); r = scored(model, development(), heard(paths)); known = ~np.isnan(r.m[:, 0])
    missing = np.isin(r.source, ("written", "generator")) & ~known
    if missing.any(): raise SystemExit(f"the model has not read {missing.sum()} of the exchanges")
    for s in ("calm", "prose"):
        # The model reads a sample; what it was not asked about gets the mean.
        mine = r.source == s; r.m[mine & ~known] = r.m[mine & known].mean(0)
    r.m = np.maximum(r.m, FLOOR); both, pooled = fit_kinds(r, lambda r, j: np.stack([r.w[:, j], r.m[:, j]], 1), lambda j: r.w[:, j] >= low[j]); _, own = fit_kinds(r, lambda r, j: r.m[:, [j]])
    print(f"all kinds: {pooled.round(3)}; the model alone: {own.round(3)}")
    for k, f in zip(KINDS, both): print(f"{k:9}", np.round(f, 3))
    p = probabilities(r, low, meta["alone"], both); reliability("the model alone", r, sigmoid(own[0] + own[1] * r.m)); reliability("what is published", r, p); choose(r, p)
    kinds = {k: dict(zip(("a", "watcher", "model"), (round(float(x), 4) for x in f))) for k, f in zip(KINDS, both)}
    with open(os.path.join(target, "calibration.json"), "w") as f: json.dump({"format": 1, "watcher": crc, "floor": FLOOR, "kinds": kinds, "own": {"a": round(float(own[0]), 4), "model": round(float(own[1]), 4)}}, f, indent=1); f.write("\n")


ENTER = {"help": 0.85, "fire": 0.95, "leak": 0.8, "intruder": 0.7, "door": 0.95, "medicine": 0.8, "left_on": 0.6}   # of the default rules


def raised_thresholds():
    """Recall and false alarms by the watcher alone where the thresholds are raised, as false alarms raise them: the mean of both halves."""
    model, meta, _ = V.load(os.path.join(HERE, "../models/watcher.safetensors")); r = scored(model, development())
    p = sigmoid(np.array([[a + b * w for (a, b), w in zip(meta["alone"], row)] for row in r.w]))
    for name, kinds in (("critical", CRITICAL), ("other", [k for k in ENTER if k not in CRITICAL])):
        for shift in (0, 0.5, 1, 2, 3):
            got = np.array([[outcome(r, p, KINDS.index(k), half, sigmoid(logit(ENTER[k]) + shift), (1, 1))[:2] for k in kinds] for half in (0, 1)]).mean(0)
            print(f"{name} rules, raised by {shift}: mean recall {got[:, 0].mean():.2f}, {got[:, 1].sum():.2f} false alarms a day together")


if __name__ == "__main__":
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter); sub = ap.add_subparsers(dest="what", required=True)
    c = sub.add_parser("write"); c.add_argument("folder"); c = sub.add_parser("fit"); c.add_argument("readings", nargs="+"); c.add_argument("model")
    sub.add_parser("raised")
    a = ap.parse_args(); {"write": lambda: write(a.folder), "fit": lambda: fit_model(a.readings, a.model), "raised": raised_thresholds}[a.what]()
