"""Writes trained weights in the Hugging Face RecurrentGemma layout, as the engine loads them.

    python export.py RUN/average.pt OUT [--tokenizer RUN/tokenizer.json]      # f16: config.json, model.safetensors, tokenizer.json, prompt.json
"""
import argparse, json, os, shutil
import torch
from safetensors.torch import save_file
import model as M
from tokenizer import PREAMBLE


def main():
    ap = argparse.ArgumentParser(); ap.add_argument("weights"); ap.add_argument("out"); ap.add_argument("--tokenizer", default="")
    a = ap.parse_args(); os.makedirs(a.out, exist_ok=True)
    f = torch.load(a.weights, weights_only=False); p, c = f["w"], f["config"]
    t = {n: (w.float() if n.endswith("recurrent_param") else w.half()).contiguous().clone() for n, w in M.to_hugging_face(p, c).items()}
    assert all(torch.isfinite(w).all() for w in t.values())
    save_file(t, os.path.join(a.out, "model.safetensors"), metadata={"format": "pt"})
    json.dump({"architectures": ["RecurrentGemmaForCausalLM"], "model_type": "recurrent_gemma", "vocab_size": c["vocab"], "hidden_size": c["width"], "lru_width": c["width"], "num_hidden_layers": c["layers"],
               "num_attention_heads": c["heads"], "num_key_value_heads": 1, "head_dim": c["width"] // c["heads"], "intermediate_size": 2 * c["mlp"], "attention_window_size": c["window"], "conv1d_width": 4,
               "logits_soft_cap": 30.0, "rms_norm_eps": 1e-6, "rope_theta": 10000.0, "partial_rotary_factor": 0.5, "hidden_activation": "gelu_pytorch_tanh", "attention_bias": False, "tie_word_embeddings": True,
               "block_types": ["recurrent", "recurrent", "attention"], "bos_token_id": 2, "eos_token_id": 1, "pad_token_id": 0, "dtype": "float16"}, open(os.path.join(a.out, "config.json"), "w"), indent=1)
    json.dump({"preamble": PREAMBLE, "utterance": " {text}", "question": "\n\n{question}", "yes": ["Yes"], "no": ["No"], "questions": {"summary": "Summarize the recent conversation."}, "summary_words": 40}, open(os.path.join(a.out, "prompt.json"), "w"), indent=1)
    shutil.copy(a.tokenizer or os.path.join(os.path.dirname(a.weights), "tokenizer.json"), os.path.join(a.out, "tokenizer.json"))
    print(sum(w.numel() for w in t.values()), "parameters,", round(sum(w.numel() * w.element_size() for w in t.values()) / 1e6, 1), "MB, after", f["step"], "steps and", round(f["tokens"] / 1e6, 1), "M tokens")


if __name__ == "__main__":
    main()
