#!/usr/bin/env python3
"""How long alerts wait on a slow machine: hearth gets a small share of the time, and talk comes as people speak.

    python3 tools/slow_machine.py model FOLDER [--shape 2b] writes a random model to FOLDER: of 155 million parameters, or of 2B size
    hearth models quantize FOLDER MODEL.gguf --type q4_k
    python3 tools/slow_machine.py measure HEARTH MODEL.gguf [--runs 10] [--stands 130] [--seconds 100]

HEARTH runs for some milliseconds, then stands still for some. An utterance is stored every four seconds, and its latency is the time until
the rules were asked about it. At the end comes SIGTERM. Run it in the project's folder.
"""

import argparse
import json
import math
import os
import random
import shutil
import signal
import socket
import sqlite3
import struct
import subprocess
import tempfile
import threading
import time
import wave
from pathlib import Path

NANO = Path("models/recurrentgemma-nano")
QUESTIONS = [
    "Is someone hurt or calling for help?",
    "Is there a fire or smoke?",
    "Is water leaking?",
    "Is there an intruder in the house?",
    "Is someone at the door?",
    "Did someone forget their medicine?",
    "Was the stove left on?",
]
WORDS = "the plumber is coming tomorrow at ten and someone has to be home we need milk and eggs for dinner".split()
ULID = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


def shapes(width, mlp, heads, layers, vocabulary):
    """The tensors of a model with one attention block after two recurrent ones."""
    head = width // heads
    found = {"model.embed_tokens.weight": [vocabulary, width], "model.final_norm.weight": [width]}
    for layer in range(layers):
        own = {"channel_pre_norm.weight": [width], "temporal_pre_norm.weight": [width]}
        for name, shape in [("down", [width, mlp]), ("gate", [mlp, width]), ("up", [mlp, width])]:
            own[f"mlp_block.{name}_proj.weight"] = shape
            own[f"mlp_block.{name}_proj.bias"] = shape[:1]
        block = {}
        if layer % 3 == 2:
            block = {"k_proj.weight": [head, width], "v_proj.weight": [head, width]}
            block |= {"q_proj.weight": [width, width], "o_proj.weight": [width, width], "o_proj.bias": [width]}
        else:
            block = {"conv_1d.bias": [width], "conv_1d.weight": [width, 1, 4], "rg_lru.recurrent_param": [width]}
            for name in ["out", "x", "y"]:
                block |= {f"linear_{name}.weight": [width, width], f"linear_{name}.bias": [width]}
            for name in ["input", "recurrent"]:
                block |= {f"rg_lru.{name}_gate_weight": [heads, head, head], f"rg_lru.{name}_gate_bias": [heads, head]}
        own |= {f"temporal_block.{name}": shape for name, shape in block.items()}
        found |= {f"model.layers.{layer}.{name}": shape for name, shape in own.items()}
    return found


# Width, MLP, heads, layers, window. The vocabulary of 2B is as large as the real one, of which the small tokenizer uses the first words.
SHAPES = {"155m": (1024, 3072, 4, 12, 1024), "2b": (2560, 7680, 10, 26, 2048)}
# Values that are made at a time.
PIECE = 1 << 24


def write_model(folder, shape):
    folder.mkdir(parents=True, exist_ok=True)
    width, mlp, heads, layers, window = SHAPES[shape]
    config = json.loads((NANO / "config.json").read_text())
    if shape == "2b":
        config["vocab_size"] = 256_000
    config |= {"hidden_size": width, "lru_width": width, "num_hidden_layers": layers, "num_attention_heads": heads}
    config |= {"head_dim": width // heads, "intermediate_size": 2 * mlp, "attention_window_size": window}
    (folder / "config.json").write_text(json.dumps(config))
    shutil.copy(NANO / "tokenizer.json", folder)
    prompt = json.loads((NANO / "prompt.json").read_text())
    # As of the real model, the summary is one text.
    del prompt["summary_words"]
    (folder / "prompt.json").write_text(json.dumps(prompt))
    header, end, sizes = {}, 0, []
    for name, shape in shapes(width, mlp, heads, layers, config["vocab_size"]).items():
        sizes.append(math.prod(shape))
        header[name] = {"dtype": "F16", "shape": shape, "data_offsets": [end, end + 2 * sizes[-1]]}
        end += 2 * sizes[-1]
    text = json.dumps(header).encode()
    with open(folder / "model.safetensors", "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for size in (min(PIECE, size - at) for size in sizes for at in range(0, size, PIECE)):
            # Of either sign, between 0.008 and 0.016.
            bits = int.from_bytes(os.urandom(2 * size), "little") & int.from_bytes(b"\xff\x83" * size, "little")
            file.write((bits | int.from_bytes(b"\x00\x20" * size, "little")).to_bytes(2 * size, "little"))


def settings(folder, model):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    sound = folder / "silence.wav"
    with wave.open(str(sound), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes(bytes(2 * 16_000 * 900))
    rule = '[[rule]]\nname = "r{}"\nquestion = "{}"\nenter = 0.9999\nexit = 0.5\nconfirm = "3 of 3"\nseverity = "{}"\n'
    rules = [rule.format(at, question, "info" if at > 2 else "critical") for at, question in enumerate(QUESTIONS)]
    path = folder / "hearth.toml"
    path.write_text(
        f'[source.file]\npath = "{sound}"\npace = "real-time"\n[store]\ndir = "{folder}/state"\n'
        f'[mqtt]\nurl = "embedded"\nlisten = "127.0.0.1:{port}"\n[listener]\nmodel = "{model}"\nthreads = 1\n'
        "[digest]\nevery_min = 1.0\nmin_words = 60\nquiet_min = 1.0\n" + "".join(rules)
    )
    return path


class Throttle(threading.Thread):
    """Lets a process run for some milliseconds, then stand still for some."""

    def __init__(self, process, runs, stands):
        super().__init__(daemon=True)
        self.process, self.runs, self.stands, self.ends = process, runs / 1e3, stands / 1e3, False

    def run(self):
        while not self.ends and self.process.poll() is None:
            self.process.send_signal(signal.SIGSTOP)
            time.sleep(self.stands)
            self.process.send_signal(signal.SIGCONT)
            time.sleep(self.runs)


def store(database):
    """Stores an utterance of now, and returns its number."""
    now = time.time_ns()
    ulid = "0" + "".join(random.choices(ULID, k=25))
    text = " ".join(random.choices(WORDS, k=10)) + "."
    insert = 'INSERT INTO utterance(id, start, "end", room, text, confidence, no_speech) VALUES (?, ?, ?, ?, ?, 1.0, 0.0)'
    return database.execute(insert, (ulid, now - 4_000_000_000, now, "home", text)).lastrowid


def measure(folder, arguments):
    path, log = settings(folder, arguments.model.resolve()), folder / "log"
    with open(log, "w") as out:
        process = subprocess.Popen([arguments.hearth, "run", "--config", path], stdout=out, stderr=out)
    while "hearth is up" not in log.read_text():
        assert process.poll() is None, log.read_text()
        time.sleep(0.2)
    # It may measure the machine first.
    time.sleep(3)
    database = sqlite3.connect(folder / "state/hearth.db", timeout=60, isolation_level=None)
    throttle = Throttle(process, arguments.runs, arguments.stands)
    throttle.start()
    said, asked, most = {}, {}, 0
    began = next_at = time.time()
    while time.time() - began < arguments.seconds:
        said[store(database)] = time.time()
        next_at += 4
        while time.time() < next_at:
            processed = database.execute("SELECT coalesce((SELECT value FROM meta WHERE key = 'processed'), 0)").fetchone()[0]
            asked |= {number: time.time() for number in said if number <= processed and number not in asked}
            most = max(most, len(said) - len(asked))
            time.sleep(0.1)
    digests = database.execute("SELECT count(*) FROM digest").fetchone()[0]
    stop = time.time()
    process.terminate()
    process.wait(120)
    took, throttle.ends = time.time() - stop, True
    latency = sorted(asked[number] - said[number] for number in asked)
    at = lambda share: latency[min(len(latency) - 1, int(share * len(latency)))] if latency else math.nan
    print(
        f"{len(said)} utterances, {len(asked)} asked about after p50 {at(0.5):.1f} s, p95 {at(0.95):.1f} s, max {at(1):.1f} s; "
        f"at most {most} waited; {digests} digests; SIGTERM: {took:.1f} s, exit status {process.returncode}"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    writing = commands.add_parser("model")
    writing.add_argument("folder", type=Path)
    writing.add_argument("--shape", choices=SHAPES, default="155m")
    measuring = commands.add_parser("measure")
    measuring.add_argument("hearth")
    measuring.add_argument("model", type=Path)
    measuring.add_argument("--runs", type=float, default=10, help="milliseconds that hearth runs")
    measuring.add_argument("--stands", type=float, default=130, help="milliseconds that it then stands still")
    measuring.add_argument("--seconds", type=float, default=100, help="of talk")
    arguments = parser.parse_args()
    if arguments.command == "model":
        write_model(arguments.folder, arguments.shape)
    else:
        with tempfile.TemporaryDirectory() as folder:
            measure(Path(folder), arguments)


if __name__ == "__main__":
    main()
