"""Trains the tokenizer: byte-pair encoding laid out as Gemma's, with its turn tokens and byte fallback.

    python tokenizer.py OUT.json [--size 8192] [--text text.txt]
"""
import argparse, json, random
from tokenizers import Regex, Tokenizer, models, trainers, decoders, normalizers, pre_tokenizers
import household as hh, split, written as W

PREAMBLE = "You are listening to a household. This is the running transcript.\n"
SPECIALS = ["<pad>", "<eos>", "<bos>", "<unk>", "<start_of_turn>", "<end_of_turn>"]
PAD, EOS, BOS, UNK, SOT, EOT = range(6)
OPEN = "<bos><start_of_turn>user\n" + PREAMBLE          # starts a stream
ASK = "\n\n{q}<end_of_turn>\n<start_of_turn>model\n"     # ends the branch's user turn with a question


def lines(text):
    rng = random.Random(1); h = hh.Household(0, noise=0.0)
    out = [PREAMBLE] + hh.SUMMARY_QUESTIONS + [q for qs in hh.ALERTS.values() for q in qs] + ["Yes.", "No."] * 20
    for _ in range(4000):
        e = h.episode(); out += [" " + e.text, e.summary] + [x for f in e.facts for x in f]
    for d in split.exchanges()[0]:
        for _ in range(4):
            t, s, q, _ = W.fill(d, rng); out += [" " + u.strip() for u in t.split("|")] + [s] + [x for f in q for x in f]
    for d in split.questions()[0]:
        out += [d["question"]] + d.get("also", []) + [" " + u.strip() for t in d["yes"] + d["no"] for u in t.split("|")]
    return out + [f"[{r}]" for r in W.MORE_ROOMS] * 20 + [" " + n for n in hh.NAMES + W.MORE_NAMES + W.MORE_ELDERS] * 10 + text


def train(size, text):
    tok = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    tok.normalizer = normalizers.Replace(" ", "▁")
    # while it learns, no piece may reach over a word's end, a mark or a figure; the merges then keep to that by themselves
    tok.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split("▁", "merged_with_next"), pre_tokenizers.Split(Regex(r"[^\w▁'<>]|\d|\n"), "isolated")])
    tok.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    byte_tokens = [f"<0x{i:02X}>" for i in range(256)]
    tok.train_from_iterator(lines(text), trainers.BpeTrainer(vocab_size=size, special_tokens=SPECIALS + byte_tokens, initial_alphabet=["▁", "\n"], show_progress=False))
    js = json.loads(tok.to_str())
    js["added_tokens"] = [a for a in js["added_tokens"] if a["content"] in SPECIALS]
    js["pre_tokenizer"] = None          # as Gemma's: merges alone decide
    return Tokenizer.from_str(json.dumps(js))


if __name__ == "__main__":
    ap = argparse.ArgumentParser(); ap.add_argument("out"); ap.add_argument("--size", type=int, default=8192); ap.add_argument("--text", default="")
    a = ap.parse_args()
    tok = train(a.size, open(a.text, encoding="utf-8").read().splitlines() if a.text else [])
    tok.save(a.out)
    n = w = 0
    for d in split.exchanges()[1]: n += len(tok.encode(d["t"]).ids); w += len(d["t"].split())
    print(tok.get_vocab_size(), "pieces;", round(n / w, 3), "a word on the development set;", tok.encode("Is someone hurt or calling for help?<end_of_turn>\n").tokens)
