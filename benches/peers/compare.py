"""hearth's engine, llama.cpp and candle-transformers, one process after the other in turns, so that a noisy minute meets all of them.

    python compare.py DIR HEARTH_PEERS [--turns 5]    # DIR as `make bench-peers` fills it

Prints the median of each figure with its lowest and highest, and the ratio to hearth's of the same turn. llama.cpp's speeds are
multiplied by 0.94 for its fewer weights (see llama_cpp.py); candle, which takes minutes, runs in the first turn alone.
"""
import argparse, json, statistics, subprocess, sys

ap = argparse.ArgumentParser()
ap.add_argument("dir"), ap.add_argument("peers"), ap.add_argument("--turns", type=int, default=5)
a = ap.parse_args()
commands = {
    "hearth": [a.peers, "hearth", f"{a.dir}/hearth.gguf"],
    "llama.cpp": [sys.executable, __file__.replace("compare.py", "llama_cpp.py"), "run", f"{a.dir}/llama.gguf"],
    "candle": [a.peers, "candle", f"{a.dir}/candle.gguf", f"{a.dir}/checkpoint/config.json"],
}
speeds = {"read": "reads 64, tok/s", "written": "writes, tok/s", "written_late": "writes after 1,000"}
rows = {engine: [] for engine in commands}
for turn in range(a.turns):
    for engine, command in commands.items():
        if engine == "candle" and turn:
            continue
        print(f"turn {turn + 1} of {a.turns}: {engine}", file=sys.stderr)
        run = subprocess.run(command, capture_output=True, text=True)
        if run.returncode:
            sys.exit(f"{engine} failed:\n{run.stderr[-2000:]}")
        row = json.loads([line for line in run.stdout.splitlines() if line.startswith("{")][-1])
        if engine == "llama.cpp":
            row.update({key: 0.94 * row[key] for key in speeds})
        rows[engine].append(row)

def told(values, digits=1):
    low, middle, high = (f"{value:.{digits}f}" for value in (min(values), statistics.median(values), max(values)))
    return f"{middle} ({low}-{high})" if len(values) > 1 else middle


print(f"{'':<10} " + " ".join(f"{title:>22}" for title in speeds.values()) + f" {'RSS, GB':>8} {'load, s':>8}")
for engine, of_engine in rows.items():
    line = " ".join(f"{told([row[key] for row in of_engine]):>22}" for key in speeds)
    last = [statistics.median(row[key] for row in of_engine) for key in ("rss_gb", "load_s")]
    print(f"{engine:<10} {line} {last[0]:>8.2f} {last[1]:>8.2f}  {of_engine[0].get('note', '')}".rstrip())
for engine in list(rows)[1:]:
    ratios = {key: [ours[key] / theirs[key] for ours, theirs in zip(rows["hearth"], rows[engine])] for key in speeds}
    print(f"hearth / {engine}".ljust(20) + ", ".join(f"{title} {told(ratios[key], 2)}" for key, title in speeds.items()))
