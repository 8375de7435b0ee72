"""Writes the development set with its slots filled in, as `hearth judge FOLDER` reads it.

    python filled.py FOLDER [--every N]      # only every N-th line

Needs only Python. Everybody gets the same folder: names, hours and the calm talk before an exchange follow from fixed seeds, and are those
that `judge.py` takes.

  exchanges.jsonl   {"k", "t", "q"} as in the corpus, with "before" (calm talk of the generator), "not_said" (questions of other exchanges), "half"
                    (of the development set) and "file" and "line" (from 0, empty lines not counted) in the corpus
  questions.jsonl   {"question", "yes", "no", "half"}: a household's own questions, with exchanges after which they are true and not
  households.jsonl  60 households of the generator from seeds that nobody was trained on, and 40 longer ones (600 to 1,200 words)
"""
import argparse, json, os, random
import household as hh, households, split, written as W

CALM = 4


def calm(seed):
    home = hh.Household(seed, noise=0, alert_rate=0.0)
    return [home.episode().text for _ in range(CALM)]


def exchanges():
    dev, rng = split.exchanges()[1], random.Random(5)
    foreign = [q for d in dev for q, a in d["q"] if "{" not in q]
    for i, d in enumerate(dev):
        t, _, q, k = W.fill(d, rng); q = q[:3]
        strange = rng.choice(foreign)
        while strange in [x for x, _ in q]: strange = rng.choice(foreign)
        yield {"k": k, "t": t, "q": q, "before": calm(880000000 + i), "not_said": [strange], "half": split.half(d["t"]), "file": d["file"], "line": d["line"]}


def questions():
    rng, count = random.Random(7), 0
    for d in split.questions()[1]:
        for way in ("yes", "no"):
            for t in d[way]:
                # The question may hold a slot too, so each exchange has its own.
                t, q, _, _ = W.fill({"t": t, "s": d["question"], "q": [], "k": []}, rng)
                yield {"question": q, way: [t], "before": calm(870000000 + count), "half": split.half(d["question"])}
                count += 1


def all_households():
    for i in range(60): yield households.transcript(930000000, i)
    for i in range(40): yield households.transcript(940000000, i, (600, 800, 1000, 1200))


def main():
    ap = argparse.ArgumentParser(); ap.add_argument("folder"); ap.add_argument("--every", type=int, default=1)
    a = ap.parse_args(); os.makedirs(a.folder, exist_ok=True)
    for name, lines in (("exchanges", exchanges()), ("questions", questions()), ("households", all_households())):
        lines = list(lines)[::a.every]
        with open(os.path.join(a.folder, name + ".jsonl"), "w", encoding="utf-8") as f:
            for line in lines: f.write(json.dumps(line, ensure_ascii=False) + "\n")
        print(f"{len(lines)} {name}")


if __name__ == "__main__":
    main()
