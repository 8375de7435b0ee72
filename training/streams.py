"""Rows for training: a piece of an endless stream, and questions asked of it at the ends of its episodes.

A row has `main` places of talk (the state is carried to the next row of the same stream) and the rest is filled with questions, each
going on from the end of an episode (see kernels.cpp). No place is wasted but a few at the end.
"""
import functools, random, re
import numpy as np
from tokenizers import Tokenizer
import household as hh, written as W
from decks import decks
from episodes import DEFAULT, KINDS, TOUCHY, WORDINGS, Source
from tokenizer import ASK, EOT, OPEN, UNK

NOT_SAID = "That was not said."
STOP = set("""about after again all also and any are because been before being but came can come could did does doing done down even ever every first for from get give goes going gone good got had has have having he her here
hers him his how into is isn't it it's its just keep know last let like little look made make many may maybe me mine more most much must never next no not nothing now off once one only onto other our out over own please
put really right said same say see she should since so some something soon still such sure take than thank that that's the their them then there there's these they they're thing things think this those though till too
took two under until up us very want was wasn't way we we're well went were what what's when where which while who whole why will with won't would yeah yes yesterday yet you you're your yours tell told today tonight don't
someone somebody anyone anybody everyone nobody didn't doesn't can't i'll i've i'm he's she's let's we'll we've okay""".split())


class Encoder:
    def __init__(self, path):
        self.tok = Tokenizer.from_file(path); self.known = functools.lru_cache(100000)(lambda s: tuple(self.tok.encode(s, add_special_tokens=False).ids))

    def __call__(self, s): return self.tok.encode(s, add_special_tokens=False).ids


def content_words(text):
    return [w for w in re.findall(r"[A-Za-z][A-Za-z'-]{3,}", text) if w.lower() not in STOP]


class Stream:
    def __init__(self, enc, rng, cards, others, mixes, short=False):
        self.enc, self.rng, self.cards, self.others, self.mixes, self.short = enc, rng, cards, others, mixes, short
        self.restart()

    def restart(self):
        r = self.rng
        self.source = Source(r, self.cards, r.choice(self.mixes), r.choice([0, 0.02, 0.05]), r.choice([0.1, 0.3, 0.6]))
        self.rooms = r.sample(W.MORE_ROOMS, r.randint(1, 4)) if r.random() < 0.35 else []
        self.ids, self.ends, self.said = list(self.enc(OPEN)), [], []
        self.fresh, self.life, self.unk = True, 1 if self.short else r.choice([2, 4, 8, 16, 32]), r.choice([0, 0, 0.03, 0.08])

    def chunk(self, n):
        """n tokens and the one after them, whether a stream begins, and [(place, the episodes said so far)]."""
        if self.life <= 0: self.restart()
        self.life -= 1
        while len(self.ids) <= n:
            e = self.source.next(); pre = f"[{self.rng.choice(self.rooms)}] " if self.rooms else ""
            ids = [t for p in e.parts for t in self.enc(f" {pre}{p}")]
            # a window of the last words begins in the midst of a sentence
            if self.short and not self.said and not e.kinds: ids = ids[self.rng.randrange(len(ids)):]
            self.ids += ids
            self.said = self.said[-5:] + [e]; self.ends.append((len(self.ids), self.said))
        out = self.ids[:n + 1]; ends = [(k - 1, s) for k, s in self.ends if k <= n]
        self.ids = self.ids[n:]; self.ends = [(k - n, s) for k, s in self.ends if k > n]
        fresh, self.fresh = self.fresh, False
        return out, fresh, ends

    # ------------------------------------------------------------ questions: (question, answer, whether the whole answer is written)
    def kinds(self, said):
        rng = self.rng; last, older = said[-3:], said[-6:-3]
        if any(e.prose for e in last) and (rng.random() < 0.8 or any(TOUCHY.search(e.text) for e in last if e.prose)): return []
        blind = any("?" in e.kinds for e in said)                     # a household's own question's exchange: its kinds are not known
        raised = [k for k in KINDS if any(k in e.kinds for e in last)]; unsure = {k for e in older for k in e.kinds}
        calm = [] if any("?" in e.kinds for e in last) else [k for k in KINDS if k not in raised and k not in unsure]
        rng.shuffle(calm)
        if "?" in unsure: calm = calm[:2]
        out = []
        for k in raised + calm[:8 if raised else 5]:
            q = DEFAULT[k] if rng.random() < 0.5 else rng.choice(WORDINGS[k])
            hit = [e for e in last if k in e.kinds]
            a = ("Yes. " + hit[-1].summary).strip() if hit else "No."
            out.append((q, a, rng.random() < (0.25 if hit else 0.06)))
        return out

    def hint(self, said):
        """For each kind whether this episode raises it, then whether one of the last three does: 1, 0, or -1 where that is not known."""
        e, last, older = said[-1], said[-3:], {k for x in said[-6:-3] for k in x.kinds}
        unknown = lambda x: x.prose or "?" in x.kinds
        now = [-1 if unknown(e) else int(k in e.kinds) for k in KINDS]
        late = [1 if any(k in x.kinds for x in last) else -1 if any(unknown(x) for x in last) or k in older else 0 for k in KINDS]
        return now + late

    def yes_no(self, said):
        rng = self.rng; out = list(said[-1].own); last = said[-2:]
        out = [(q, a, rng.random() < 0.1) for q, a in out]
        if out or rng.random() < 0.25:
            d = rng.choice(self.others["own"]); q = rng.choice([d["question"]] + list(d.get("also", [])))
            if "{" not in q and "?" not in [k for e in last[:-1] for k in e.kinds]: out.append((q, "No.", False))
        if rng.random() < 0.35:
            yes = rng.random() < 0.5; d = said[-1] if yes else None
            s = d.summary if yes else W.fill(rng.choice(self.others["written"]), rng)[1]
            if s: out.append((rng.choice(["Is it true that {}?", "Is this true: {}?", "Was it said that {}?"]).format(s.rstrip(".")[:1].lower() + s.rstrip(".")[1:] if s.split()[0] in ("The", "A", "An", "Someone", "They", "There", "Water", "Nobody", "It") else s.rstrip(".")), "Yes." if yes else "No.", False))
        if rng.random() < 0.35:
            yes = rng.random() < 0.5; now = " ".join(e.text for e in said[-3:])
            words = content_words(said[-1].text) if yes else [w for w in content_words(W.fill(rng.choice(self.others["written"]), rng)[0]) if w.lower() not in now.lower()]
            if words: out.append((rng.choice(["Did someone mention {}?", "Was {} mentioned?", "Did anyone say {}?", "Is the talk about {}?"]).format(rng.choice(words)), "Yes." if yes else "No.", False))
        return out

    def texts(self, said, repeat):
        rng = self.rng; out = []; recent = said[-4:]
        if rng.random() < repeat: out.append((rng.choice(hh.REPEAT_QUESTIONS), re.split(r"(?<=[.!?]) ", said[-1].parts[-1])[-1], True))
        told = [e for e in recent if e.summary]
        if told and rng.random() < 0.25: out.append((rng.choice(hh.SUMMARY_QUESTIONS), " ".join(e.summary for e in told[-3:]), True))
        facts = [f for e in recent for f in e.facts]
        mine = [q for q, _ in said[-1].facts]; rng.shuffle(mine)
        for q in mine[:2] + ([rng.choice(facts)[0]] if facts and rng.random() < 0.3 else []):
            out.append((q, [b for p, b in facts if p == q][-1], True))
        if rng.random() < 0.45:
            named = [q for q in mine if any(n in q.replace("'s", "").rstrip("?").split() for n in NAMES)]
            if named and rng.random() < 0.4:
                words = named[0].split(); i = next(i for i, w in enumerate(words) if w.replace("'s", "").rstrip("?") in NAMES)
                old = words[i].replace("'s", "").rstrip("?"); new = rng.choice(NAME_LIST)
                if new not in " ".join(e.text for e in said[-5:]): out.append((named[0].replace(old, new), NOT_SAID, True))
            else:
                q = rng.choice(self.others["facts"])
                if q not in [p for p, _ in facts]: out.append((q, NOT_SAID, True))
        return out

    def questions(self, said, repeat):
        if said[-1].prose and self.rng.random() < 0.5: return self.yes_no(said)[:1]
        return self.kinds(said) + self.yes_no(said), self.texts(said, repeat)


NAME_LIST = hh.NAMES + W.MORE_NAMES
NAMES = set(NAME_LIST)


def copies(enc, rng, n):
    """Random words, said twice: what teaches to look up what followed before."""
    V = enc.tok.get_vocab_size(); ids = list(enc(OPEN)); weight = [0.0] * len(ids)
    while len(ids) <= n:
        seg = [rng.randrange(262, V) for _ in range(rng.randint(3, 24))]; gap = [rng.randrange(262, V) for _ in range(rng.choice([0, 2, 8, 30]))]
        ids += seg + gap + seg; weight += [0.0] * (len(seg) + len(gap) + 1) + [1.0] * (len(seg) - 1)
    return ids[:n + 1], weight[:n + 1]


class Batches:
    """`next()` gives one batch as numpy arrays. Rows are kept in order: row i goes on where row i of the batch before ended."""
    def __init__(self, tokenizer, seed, rows, main, length, prose=(), mixes=None, copying=0.0, repeat=0.08, lm_share=1.0, words=0.5, short=False):
        self.rng = random.Random(seed); self.enc = Encoder(tokenizer); self.rows, self.main, self.length = rows, main, length
        self.copying, self.repeat, self.lm_share, self.words = copying, repeat, lm_share, words
        cards = decks(self.rng, prose); lines = cards["written"].cards
        others = {"written": [d for d in lines if d["s"]], "own": [d for d in {id(c[0]): c[0] for c in cards["own"].cards}.values()], "facts": [q for d in lines for q, _ in d["q"] if "{" not in q]}
        mixes = [{o: x for o, x in m.items() if o == "generator" or o in cards} for m in (mixes or MIXES)]
        self.streams = [Stream(self.enc, random.Random(self.rng.randrange(1 << 40)), cards, others, mixes, short) for _ in range(rows)]

    def next(self):
        B, T, L, rng = self.rows, self.main, self.length, self.rng
        tokens = np.zeros((B, L), np.int64); prev = np.tile(np.arange(-1, L - 1), (B, 1)); pos = np.tile(np.arange(L), (B, 1)); parent = pos.copy(); first = np.full((B, L), -1)
        fresh = np.zeros(B, bool); hint_at, hint = [], []; at, target, weight, what = [], [], [], []             # places that are predicted; what: 0 talk, 1 yes or no, 2 words of an answer
        def want(row, place, t, w, kind): at.append(row * L + place); target.append(t); weight.append(w); what.append(kind)
        for i, s in enumerate(self.streams):
            if rng.random() < self.copying:
                ids, w = copies(self.enc, rng, T); begins, ends = True, []; s.restart()
                s.life = 0                                                              # what comes next is a new stream
                for t in range(T):
                    if w[t + 1]: want(i, t, ids[t + 1], 1.0, 0)
            else:
                ids, begins, ends = s.chunk(T)
                for t in range(T):
                    if self.lm_share >= 1 or rng.random() < self.lm_share: want(i, t, ids[t + 1], 1.0, 0)
            tokens[i, :T] = ids[:T]; fresh[i] = begins
            if begins: prev[i, 0] = -2
            if s.unk and ends:
                for t in range(T):
                    if ids[t] > 261 and rng.random() < s.unk: tokens[i, t] = UNK
            short, long = [], []
            for place, said in ends:
                hint_at.append(i * L + place); hint.append(s.hint(said))
                q = s.questions(said, self.repeat)
                if isinstance(q, list): short += [(place, x) for x in q]
                else: short += [(place, x) for x in q[0]]; long += [(place, x) for x in q[1]]
            rng.shuffle(short); rng.shuffle(long); used = T; n_short = n_long = 0
            while short or long:
                take = long if long and (not short or n_long < self.words * n_short) else short
                place, (q, a, whole) = take.pop()
                pre, post = self.enc.known(ASK.format(q=q)), (list(self.enc.known(a)) + [EOT])[:72]
                verdict = a.startswith(("Yes.", "No.")) and take is short
                if not whole: post = post[:1]
                seq = list(pre) + post; n = len(seq) - 1
                if used + n > L: continue
                if take is long: n_long += n
                else: n_short += n
                tokens[i, used:used + n] = seq[:n]; prev[i, used] = place; pos[i, used:used + n] = place + 1 + np.arange(n); parent[i, used:used + n] = place; first[i, used:used + n] = used
                for t in range(len(pre) - 1, n):
                    v = verdict and t == len(pre) - 1
                    want(i, used + t, seq[t + 1], (1.5 if a.startswith("Yes") else 1.0) if v else 0.35, 1 if v else 2)
                used += n
        return dict(tokens=tokens, prev=prev, pos=pos, parent=parent, first=first, fresh=fresh, at=np.array(at), target=np.array(target, np.int32), weight=np.array(weight, np.float32), what=np.array(what, np.int8),
                    hint_at=np.array(hint_at, np.int64), hint=np.array(hint, np.float32).reshape(-1, 16))


# a stream takes its talk from one of these mixtures
MIXES = [{"written": 0.8, "own": 0.15, "phrases": 0.25}, {"written": 0.55, "generator": 0.3, "own": 0.1, "phrases": 0.3}, {"written": 0.8, "own": 0.15, "phrases": 0.15}, {"written": 0.6, "prose": 0.4},
         {"generator": 0.85, "written": 0.15}]
