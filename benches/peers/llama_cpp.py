"""What llama.cpp makes of a transformer of RecurrentGemma 2B's size: it cannot run this model, and is what one would run instead.

    pip install --only-binary :all: xllamacpp && pip install gguf numpy
    python llama_cpp.py make FILE.gguf     # random q4_K weights: 26 layers, width 2560, MLP 7680, 10 query heads, 1 KV head of 256
    python llama_cpp.py run FILE.gguf [--threads 2]    # a line of JSON, tokens a second as measured

1.91 G weights a token against RecurrentGemma's 2.03 G (its recurrent blocks are larger than attention): `compare.py` multiplies speeds by 0.94.
"""
import argparse, json, os, time
import numpy as np

ap = argparse.ArgumentParser(); ap.add_argument("what"); ap.add_argument("file"); ap.add_argument("--threads", type=int, default=2)
a = ap.parse_args()
L, D, F, H, HD, V = 26, 2560, 7680, 10, 256, 256000

if a.what == "make":
    import gguf
    w = gguf.GGUFWriter(a.file, "llama")
    w.add_context_length(8192); w.add_embedding_length(D); w.add_block_count(L); w.add_feed_forward_length(F); w.add_head_count(H)
    w.add_head_count_kv(1); w.add_key_length(HD); w.add_value_length(HD); w.add_rope_dimension_count(HD); w.add_layer_norm_rms_eps(1e-6)
    w.add_file_type(15); w.add_vocab_size(V)
    toks = [b"<unk>", b"<s>", b"</s>"] + [b"<0x%02X>" % i for i in range(256)] + [("\u2581w%d" % i).encode() for i in range(V - 259)]
    w.add_tokenizer_model("llama"); w.add_token_list(toks); w.add_token_scores([-float(i) for i in range(V)])
    w.add_token_types([2, 3, 3] + [6] * 256 + [1] * (V - 259))
    rng = np.random.default_rng(0)
    def q4k(rows, cols):
        n = cols // 256
        b = np.frombuffer(rng.bytes(rows * n * 144), np.uint8).reshape(rows, n, 144).copy()
        b[..., 0:2] = np.frombuffer(np.float16(2e-4).tobytes(), np.uint8); b[..., 2:4] = np.frombuffer(np.float16(1e-3).tobytes(), np.uint8)
        return b.reshape(rows, n * 144)
    def add(name, rows, cols): w.add_tensor(name, q4k(rows, cols), raw_dtype=gguf.GGMLQuantizationType.Q4_K)
    add("token_embd.weight", V, D); w.add_tensor("output_norm.weight", np.ones(D, np.float32))
    for i in range(L):
        p = f"blk.{i}."
        for n, r, c in (("attn_q", H * HD, D), ("attn_k", HD, D), ("attn_v", HD, D), ("attn_output", D, H * HD), ("ffn_gate", F, D), ("ffn_up", F, D), ("ffn_down", D, F)):
            add(p + n + ".weight", r, c)
        for n in ("attn_norm", "ffn_norm"): w.add_tensor(p + n + ".weight", np.ones(D, np.float32))
    w.write_header_to_file(); w.write_kv_data_to_file(); w.write_tensors_to_file(progress=False); w.close()
    print(os.path.getsize(a.file) / 1e9, "GB")
else:
    import xllamacpp as x
    p = x.CommonParams(); p.model.path = a.file; p.n_ctx = 4096; p.cpuparams.n_threads = a.threads; p.cpuparams_batch.n_threads = a.threads
    p.n_parallel = 1; p.warmup = True
    t = time.time(); s = x.Server(p); load_s = time.time() - t
    rng = np.random.default_rng(1)
    row = {"load_s": load_s}
    for n, key in ((64, "written"), (1000, "written_late")):
        m = None
        for _ in range(2):  # once for the pages, once for the clock
            r = s.handle_completions({"prompt": rng.integers(300, V, n).tolist(), "n_predict": 32, "cache_prompt": False, "ignore_eos": True, "temperature": 0})
            r = r if isinstance(r, dict) else json.loads(r)
            m = r.get("timings") or r
            if n > 64: break
        if n == 64: row["read"] = m["prompt_per_second"]
        row[key] = m["predicted_per_second"]
    row["rss_gb"] = int([l for l in open("/proc/self/status") if l.startswith("VmRSS")][0].split()[1]) * 1024 / 1e9
    print(json.dumps(row), flush=True)
