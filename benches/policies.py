#!/usr/bin/env python3
"""Ways to hear the same recordings, beside each other: words, seconds, and how much of the time is spent decoding.

    cargo build --release --locked && benches/policies.py FOLDER [--set SET]... [--cost 0.75,0.008]

All go through hearth's own voice detector, recogniser and scorer (`hearth bench hearing`), on a clock on which a pass takes what
--cost says, so the figures do not depend on what else the machine does; what differs is when is looked and what is believed:

  segment    each stretch of speech is decoded once, when it is over
  agreement  LocalAgreement-2 as whisper_streaming has it: a look every second, and what two of them agree on
  hearth     looks while there is time, by the clock and where a pause begins; a sure word needs one look

A pass of `agreement` encodes 30 s, as Whisper does elsewhere, and costs all of it; hearth's encode what was said and the silence
behind it that the model wants, and cost their share. The offline pass encodes 30 s.
"""
import argparse
import json
import subprocess
import sys

parser = argparse.ArgumentParser()
parser.add_argument("folder")
parser.add_argument("--set", action="append", default=[])
parser.add_argument("--cost", default="0.75,0.008")
parser.add_argument("--hearth", default="target/release/hearth")
parser.add_argument("--threads", default="0")
args = parser.parse_args()

print(f"{'policy':10} {'WER':>7} {'offline':>8} {'p50':>8} {'p95':>8} {'decoding':>9} {'revisions':>10} {'noise words/h':>14}")
for policy, options in [("segment", ["--no-looks"]), ("agreement", ["--agreement"]), ("hearth", [])]:
    command = [args.hearth, "bench", "hearing", args.folder, "--cost", args.cost, "--threads", args.threads, "--json", *options]
    done = subprocess.run(command + [word for name in args.set for word in ("--set", name)], stdout=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(f"{policy} cannot be measured")
    found = json.loads(done.stdout.splitlines()[-1])
    number = lambda key, scale, unit: "–" if found.get(key) is None else f"{found[key] * scale:.1f} {unit}".strip()
    print(
        f"{policy:10} {number('wer', 100, '%'):>7} {number('wer_offline', 100, '%'):>8} {number('latency_p50_s', 1, 's'):>8} "
        f"{number('latency_p95_s', 1, 's'):>8} {number('busy', 100, '%'):>9} {found['revisions']:>10} "
        f"{number('noise_words_per_hour', 1, ''):>14}",
        flush=True,
    )
