"""How much quotes tell, on the exchanges kept from training: the figures in src/grounding/quotes.rs and nearest.rs.

    python quotes.py

The rules are those of the program, written again here for the measurement: they must be changed together.
"""
import collections, json, math, random, re
import split

FUNCTION = set("""a about after again all also am an and any anybody anyone are as asked at be because been before being both but by can could did do does
done down for from get got had has have he her here him his how i if in into is it its just like may me might more most my new no nobody not now of off on
one only or other our out over said say says she should so some somebody someone something talked talk planned than that the their them then there they
this those to too under until up was we were what when where which while who whole why will with would yes you your""".split())


def words(text): return re.findall(r"[a-z][a-z'-]*|\d+", re.sub(r"[{}]", " ", text).lower().replace("'s", ""))


def content(text): return {w for w in words(text) if w not in FUNCTION and len(w) > 2}


def form(a, b):
    """Whether two words may be forms of one."""
    same = next((i for i, (x, y) in enumerate(zip(a, b)) if x != y), min(len(a), len(b)))
    return a == b or (same >= 3 and same + 2 >= min(len(a), len(b)) and 2 * same >= max(len(a), len(b)))


def held(wanted, text): return sum(any(form(w, x) for x in text) for w in wanted)


def summaries(exchanges):
    """Of a summary's words of content, the share in the chosen utterance."""
    choose = {"most words of content": lambda u, s: len(content(u)), "longest": lambda u, s: len(words(u)), "first": lambda u, s: 0, "any": lambda u, s: random.random(), "best possible": lambda u, s: held(s, words(u))}
    shares = collections.defaultdict(list)
    for d in exchanges:
        said, s = [u.strip() for u in d["t"].split("|")], content(d.get("s", ""))
        if s and len(said) > 2:
            for name, score in choose.items(): shares[name].append(held(s, words(max(said, key=lambda u: score(u, s)))) / len(s))
    print(f"summaries of {len(shares['first'])} exchanges:", ", ".join(f"{n} {sum(v) / len(v):.2f}" for n, v in shares.items()))


def answers(exchanges):
    """What is quoted to a question, behind four other exchanges."""
    facts = quoted = right = others = false = 0
    for k in range(4, len(exchanges)):
        said = [u.strip() for d in exchanges[k - 4:k + 1] for u in d["t"].split("|")]; spoken = [set(words(u)) for u in said]
        def nearest(question):
            asked = content(question)
            weight = {w: math.log((len(said) + 1) / (sum(held([w], u) > 0 for u in spoken) + 1)) + 1e-16 for w in asked}
            share = [sum(weight[w] for w in asked if held([w], u)) / sum(weight.values()) if asked else 0 for u in spoken]
            best = max(range(len(said)), key=lambda i: (share[i], i))
            if share[best] < 0.5: return []
            return said[best:best + 2 + (said[best + 1].endswith("?") if best + 1 < len(said) else 0)]
        for question, answer in exchanges[k]["q"]:
            if answer.startswith("That was not said"): continue
            quote = nearest(question); wanted = content(answer) or words(answer)
            facts += 1; quoted += bool(quote); right += bool(quote) and held(wanted, words(" ".join(quote))) >= 0.6 * len(wanted)
        others += 1; false += bool(nearest(exchanges[(k + 700) % len(exchanges)]["q"][0][0]))
    print(f"{facts} questions: quoted {quoted / facts:.2f}, the quote holds the answer {right / facts:.2f}; {others} questions of other exchanges: quoted {false / others:.2f}")


if __name__ == "__main__":
    random.seed(3)
    development = split.exchanges()[1]; random.shuffle(development)
    summaries(development); answers([d for d in development if d.get("q")])
