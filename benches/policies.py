#!/usr/bin/env python3
"""Ways to hear the same recordings, beside each other: words, seconds, and how much of the time is spent decoding.

    cargo build --release --locked && benches/policies.py FOLDER [--set SET]... [--every N] [--model FILE]

All go through hearth's own voice detector, recogniser and scorer (`hearth bench hearing`), on a clock on which a pass takes what
--cost says, so the figures do not depend on what else the machine does; what differs is when is looked and what is believed:

  stream     whisper.cpp's `stream`: every 3 s the last 10 are decoded, and every second time that is final
  segment    each stretch of speech is decoded once, when it is over
  agreement  LocalAgreement-2 as whisper_streaming has it: a look every second, and what two of them agree on
  hearth     looks while there is time, by the clock and where a pause begins; the surer a word, the less has to be heard behind it

The programs themselves (whisper_streaming, WhisperLiveKit) want torch and another form of the model; so it is their policy that
runs here, with the same model, detector and scorer. A pass of `agreement` and of `stream` encodes 30 s, as Whisper does elsewhere,
and costs all of it; hearth's encode what was said and the silence behind it that the model wants, and cost their share. The offline
pass encodes 30 s.
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
        sys.exit(f"{policy} cannot be measured")
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
