"""Trains the nano RecurrentGemma on a CPU, and goes on from where it was stopped.

    python train.py --out RUN --tokenizer tokenizer.json [--embed embed.npy] [--text text.txt] [--hours 10]

RUN/train.pt is written every few minutes, aside and renamed; the same command goes on from it. RUN/average.pt holds the mean of the
late weights, which is what `export.py` and `judge.py` take. `--decay N` lets the learning rate fall to nothing over N steps, then stops:
do that on a copy of RUN before publishing, and go on with the original.
"""
import argparse, json, multiprocessing, os, random, shutil, signal, time
import numpy as np
import torch
import torch.nn.functional as Fn
import kernels as K, model as M
from streams import Batches


def worker(queue, settings, seed):
    signal.signal(signal.SIGTERM, signal.SIG_DFL); b = Batches(settings["tokenizer"], seed, settings["rows"], settings["main"], settings["length"], settings["prose"], copying=settings["copying"], repeat=settings["repeat"], lm_share=settings["lm_share"], words=settings["words"], short=settings["short"])
    while True: queue.put(b.next())


class Weights:
    """All parameters in one flat vector, so that Adam and averages are one pass; the matrices go to the model as ACT copies."""
    def __init__(self, c, p, embed_rate, decay):
        self.c, self.names, at = c, [], 0
        for n in M.shapes(c): self.names.append((n, at, p[n].numel(), p[n].shape)); at += p[n].numel()
        self.w = torch.cat([p[n].reshape(-1) for n, *_ in self.names]).contiguous(); self.m, self.v, self.g = (torch.zeros(at) for _ in range(3)); self.mean = self.w.clone()
        self.rate, self.decay = torch.ones(at), torch.zeros(at)
        for n, a, k, _ in self.names:
            if n == "embed": self.rate[a:a + k] = embed_rate
            if M.is_matrix(n): self.decay[a:a + k] = decay

    def leaves(self):
        out = {}
        for n, a, k, s in self.names:
            t = self.w[a:a + k].view(s)
            out[n] = (t.to(K.ACT) if M.is_matrix(n) else t.detach()).requires_grad_()
        out["head"] = out["embed"].detach().to(K.ACT).requires_grad_()
        return out

    def gather(self, leaves):
        for n, a, k, _ in self.names:
            g = leaves[n].grad
            if g is None: self.g[a:a + k].zero_(); continue
            self.g[a:a + k].view_as(g).copy_(g)
            if n == "embed": self.g[a:a + k].view_as(g).add_(leaves["head"].grad)

    def parameters(self, flat): return {n: flat[a:a + k].view(s) for n, a, k, s in self.names}


def write(path, what):
    """Whole or not at all: a checkpoint cut short by a signal must not replace the last good one."""
    torch.save(what, path + ".new"); os.replace(path + ".new", path)


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--out", required=True); ap.add_argument("--tokenizer", required=True); ap.add_argument("--embed", default=""); ap.add_argument("--text", default="")
    ap.add_argument("--width", type=int, default=256); ap.add_argument("--layers", type=int, default=9); ap.add_argument("--heads", type=int, default=4); ap.add_argument("--window", type=int, default=256); ap.add_argument("--mlp", type=int, default=768)
    ap.add_argument("--rows", type=int, default=6); ap.add_argument("--main", type=int, default=192); ap.add_argument("--length", type=int, default=608)
    ap.add_argument("--lr", type=float, default=1.2e-3); ap.add_argument("--warm", type=int, default=150); ap.add_argument("--drop", type=float, default=0.1); ap.add_argument("--weight-decay", type=float, default=0.05); ap.add_argument("--embed-rate", type=float, default=0.3)
    ap.add_argument("--lm", type=float, default=0.4, help="the weight of language modelling"); ap.add_argument("--lm-share", type=float, default=0.6, help="share of the talk's places that are predicted")
    ap.add_argument("--words", type=float, default=0.5, help="tokens of questions that are answered in words, for each token of yes/no questions")
    ap.add_argument("--hint", type=float, default=2.0, help="the weight of the straight line's help")
    ap.add_argument("--copying", type=float, default=0.06); ap.add_argument("--repeat", type=float, default=0.08); ap.add_argument("--mean", type=float, default=0.998)
    ap.add_argument("--short", action="store_true", help="each row begins anew, as the event model reads")
    ap.add_argument("--hours", type=float, default=1e9); ap.add_argument("--steps", type=int, default=10 ** 9); ap.add_argument("--decay", type=int, default=0); ap.add_argument("--minutes", type=float, default=4, help="between checkpoints"); ap.add_argument("--threads", type=int, default=1); ap.add_argument("--start", default="", help="a checkpoint folder to start from")
    a = ap.parse_args()
    torch.set_num_threads(a.threads); os.makedirs(a.out, exist_ok=True)
    vocab = json.load(open(a.tokenizer))["model"]["vocab"]; c = M.config(len(vocab), a.width, a.layers, a.heads, a.window, a.mlp)
    path = os.path.join(a.out, "train.pt"); step, spent, tokens, average = 0, 0.0, 0, {}
    if os.path.exists(path):
        old = torch.load(path, weights_only=False); c = old["config"]; W = Weights(c, W0 := M.start(c), a.embed_rate, a.weight_decay); del W0
        if len(old["w"]) != len(W.w): raise SystemExit(f"{path} is of another model; take it as --start")
        for k in ("w", "m", "v", "mean"): getattr(W, k).copy_(old[k])
        step, spent, tokens, average = old["step"], old["spent"], old["tokens"], old["average"]
        print(f"goes on from step {step}", flush=True)
    else:
        p = M.start(c)
        if a.start: q, c = M.from_hugging_face(a.start); p = M.start(c) | q
        elif a.embed: p["embed"] = torch.from_numpy(np.load(a.embed)).float()
        W = Weights(c, p, a.embed_rate, a.weight_decay)
        if os.path.abspath(a.tokenizer) != os.path.abspath(os.path.join(a.out, "tokenizer.json")): shutil.copy(a.tokenizer, os.path.join(a.out, "tokenizer.json"))
    print(f"{W.w.numel() / 1e6:.2f} M parameters, {c}", flush=True)
    prose = open(a.text, encoding="utf-8").read().splitlines() if a.text and os.path.exists(a.text) else []
    settings = dict(tokenizer=a.tokenizer, rows=a.rows, main=a.main, length=a.length, prose=prose, copying=a.copying, repeat=a.repeat, lm_share=a.lm_share, words=a.words, short=a.short)
    queue = multiprocessing.Queue(6); feeder = multiprocessing.Process(target=worker, args=(queue, settings, 7919 * (step + 1)), daemon=True); feeder.start()
    state, seen = M.empty_state(c, a.rows), np.zeros(a.rows, int)
    stop = []; signal.signal(signal.SIGTERM, lambda *_: stop.append(1))
    begun = step; t0 = saved = time.time(); cpu0 = time.process_time(); shown = (step, tokens, t0, cpu0)

    def save():
        write(path, dict(config=c, w=W.w, m=W.m, v=W.v, mean=W.mean, step=step, spent=spent + (time.time() - t0) / 3600, tokens=tokens, average=average))
        write(os.path.join(a.out, "average.pt"), dict(config=c, w={n: t.clone() for n, t in W.parameters(W.mean).items()}, step=step, tokens=tokens, spent=spent + (time.time() - t0) / 3600))

    while step - begun < (a.decay or a.steps) and (time.time() - t0) / 3600 < a.hours and not stop:
        x = queue.get()
        seen[x["fresh"]] = 0
        tree = M.Tree(c, x["prev"], x["pos"], x["parent"], x["first"], seen)
        leaves = W.leaves()
        y, state, read, early = M.forward(leaves, c, torch.from_numpy(x["tokens"]), tree, state, a.main, a.drop, step, hints=True)
        seen = np.minimum(seen + a.main, c["window"])
        at, kind = torch.from_numpy(x["at"]), x["what"]; talk = kind == 0; weight = x["weight"].copy()
        weight[talk] *= a.lm / max(weight[talk].sum(), 1); weight[~talk] /= max(weight[~talk].sum(), 1)
        logits = Fn.linear(y.view(-1, c["width"])[at], leaves["head"])
        loss, each = K.CrossEntropy.apply(logits, torch.from_numpy(x["target"]), torch.from_numpy(weight))
        hint, known = torch.from_numpy(x["hint"]), torch.from_numpy(x["hint"] >= 0)
        def wrong(layer, name):
            guess = Fn.linear(layer.view(-1, c["width"])[torch.from_numpy(x["hint_at"])].float(), leaves[name], leaves[name + "_b"])
            return (Fn.binary_cross_entropy_with_logits(guess, hint.clamp(min=0), pos_weight=torch.tensor(2.0), reduction="none") * known).sum() / known.sum().clamp(min=1)
        off = wrong(read, "hint"); off2 = wrong(early, "early") if early is not None else off * 0
        (loss + a.hint * (off + 0.5 * off2)).backward(); W.gather(leaves)
        norm = float(W.g.norm()); step += 1; tokens += x["tokens"].size
        rate = a.lr * min(1, step / a.warm) * (1 - (step - begun) / a.decay if a.decay else 1)
        if norm == norm: K.adam(W.w, W.m, W.v, W.g, W.rate, W.decay, min(1.0, 1.0 / (norm + 1e-9)), rate, 0.9, 0.98, step)
        else: print("a step without a number was left out", flush=True); state = M.empty_state(c, a.rows); seen[:] = 0
        W.mean.lerp_(W.w, max(1 - a.mean, 1 / (step + 1)))
        average["early"] = 0.98 * average.get("early", float(off2.detach())) + 0.02 * float(off2.detach())
        average["hint"] = 0.98 * average.get("hint", float(off.detach())) + 0.02 * float(off.detach())
        for n, k in (("talk", 0), ("yes/no", 1), ("words", 2)):
            if (kind == k).any(): v = float(each[torch.from_numpy(kind == k)].mean()); average[n] = 0.98 * average[n] + 0.02 * v if n in average else v
        if step % 50 == 0:
            now, cpu = time.time(), time.process_time()
            print(f"step {step} tokens {tokens / 1e6:.2f} M, " + ", ".join(f"{n} {v:.3f}" for n, v in average.items()) + f", norm {norm:.2f}, rate {rate:.5f}, {(tokens - shown[1]) / (now - shown[2]):.0f} tok/s, {(tokens - shown[1]) / (cpu - shown[3]):.0f} a processor second, {spent + (now - t0) / 3600:.2f} h", flush=True)
            shown = (step, tokens, now, cpu)
        if time.time() - saved > a.minutes * 60: save(); saved = time.time()
    save(); feeder.terminate(); print("done", step, flush=True)


if __name__ == "__main__":
    main()
