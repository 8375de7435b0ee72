"""Writes the words that begin sentences without being anybody's name: those that the exchanges write in lower case at least twice.

    python common_words.py > ../src/grounding/common_words.txt
"""
import collections, glob, json, os, re
import household as hh, split, written as W

# Who is meant by these is a question of who speaks, so a text may only use them where they were said.
KIN = """mum mummy mam mom mommy dad daddy papa gran granny grandma nan nana nanny grandad granddad grandpa pop oma opa auntie aunt uncle
sis bro mister missus sir madam""".split()

counts = collections.Counter()
for path in sorted(glob.glob(os.path.join(split.CORPUS, "*.jsonl"))):
    for line in open(path, encoding="utf-8"):
        d = json.loads(line)
        texts = [d[k] for k in ("t", "s", "question") if k in d] + [x for q in d.get("q", []) for x in q] + [x for k in ("yes", "no", "also") for x in d.get(k, [])]
        for text in texts:
            counts.update(w for w in re.findall(r"[A-Za-z][A-Za-z']*", re.sub(r"{\w+}", " ", text)) if w[0].islower())
names = {n.lower() for n in hh.NAMES + W.MORE_NAMES} | set(KIN)
for word in sorted(w for w, n in counts.items() if n > 1 and len(w) > 1 and w not in names): print(word)
