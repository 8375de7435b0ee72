#!/usr/bin/env python3
"""Compares streaming policies on the same recordings: word errors, latency, and the share of the time spent decoding.

    cargo build --release --locked && benches/policies.py FOLDER [--set SET]... [--every N] [--model FILE]

All policies use hearth's own voice detector, recognizer and scorer (`hearth bench hearing`), on a simulated clock on which a decode
takes what --cost says, so the figures do not depend on what else the machine does. They differ in when they decode and in which words
they commit:

  stream     whisper.cpp's `stream`: every 3 s the last 10 s are decoded, and every second decode is final
  segment    each segment of speech is decoded once, when it is over
  agreement  LocalAgreement-2 as in whisper_streaming: a decode every second, and what two of them agree on is committed
  hearth     partial decodes while there is time, periodically and when a pause begins; the surer a word, the less audio is needed after it

The programs themselves (whisper_streaming, WhisperLiveKit) need torch and another format of the model, so their policy runs here with
the same model, detector and scorer. A decode of `agreement` and of `stream` encodes 30 s and costs all of it. hearth's decodes encode
the audio and the silence after it that the model needs, and cost their share. The offline decode encodes 30 s.
"""
import argparse
import json
import subprocess
import sys

parser = argparse.ArgumentParser()
parser.add_argument("folder")
parser.add_argument("--set", action="append", default=[])
parser.add_argument("--every", default="1")
parser.add_argument("--model")
parser.add_argument("--cost", default="0.75,0.008")
parser.add_argument("--hearth", default="target/release/hearth")
parser.add_argument("--threads", default="0")
args = parser.parse_args()

number = lambda value, scale, unit: "–" if value is None else f"{value * scale:.{1 if scale == 100 else 2}f} {unit}"
policies = {"stream": ["--stream"], "segment": ["--no-looks"], "agreement": ["--agreement"], "hearth": []}
found = {}
print(f"{'policy':10} {'WER':>7} {'offline':>8} {'p50':>8} {'p95':>8} {'decoding':>9} {'revisions':>10} {'noise words/h':>14}")
for policy, options in policies.items():
    command = [args.hearth, "bench", "hearing", args.folder, "--cost", args.cost, "--threads", args.threads, "--json", *options]
    command += [word for name in args.set for word in ("--set", name)] + ["--every", args.every]
    done = subprocess.run(command + (["--model", args.model] if args.model else []), stdout=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(f"hearth bench hearing failed for the policy {policy}")
    report = found[policy] = json.loads(done.stdout.splitlines()[-1])
    noise = report.get("noise_words_per_hour")
    print(
        f"{policy:10} {number(report['wer'], 100, '%'):>7} {number(report['wer_offline'], 100, '%'):>8} "
        f"{number(report['latency_p50_s'], 1, 's'):>8} {number(report['latency_p95_s'], 1, 's'):>8} "
        f"{number(report['busy'], 100, '%'):>9} {report['revisions']:>10} {'–' if noise is None else f'{noise:.1f}':>14}",
        flush=True,
    )

print(f"\n{'set':24} {'words':>6}" + "".join(f" {policy + ': WER, p50, p95':>30}" for policy in policies))
for name in found["hearth"]["by_set"]:
    sets = [found[policy]["by_set"][name] for policy in policies]
    row = lambda it: ", ".join([number(it["wer"], 100, "%"), number(it["latency_p50_s"], 1, "s"), number(it["latency_p95_s"], 1, "s")])
    print(f"{name:24} {sets[0]['words']:>6}" + "".join(f" {row(it):>30}" for it in sets))
