"""hearth's engine beside candle-transformers and llama.cpp: each in a process of its own, in turns, for a machine that others use
is not the same minutes later. Prints the median of each figure, and hearth's as multiples of the peer's of the same turn.

    python compare.py DIR PEERS [TURNS]    # DIR: the models and a venv with xllamacpp; PEERS: the program that Cargo built
"""
import json, statistics, subprocess, sys

directory, program = sys.argv[1:3]
turns = int(sys.argv[3]) if len(sys.argv) > 3 else 5
# llama.cpp reads 1.91 G weights a token where RecurrentGemma reads 2.03 G.
ENGINES = {
    "hearth": ([program, "hearth", f"{directory}/hearth.gguf"], 1),
    "llama.cpp": ([f"{directory}/venv/bin/python", "benches/peers/llama_cpp.py", "run", f"{directory}/llama.gguf"], 0.94),
    "candle": ([program, "candle", f"{directory}/candle.gguf", f"{directory}/checkpoint/config.json"], 1),
}
FIGURES = {"read": "reads 64/s", "written": "writes/s", "written_late": "after 1000", "rss_gb": "RSS, GB", "load_s": "load, s"}


def measure(engine):
    command, weight = ENGINES[engine]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    if done.returncode:
        sys.exit(f"{engine} ended with {done.returncode}: {' '.join(command)}")
    row = json.loads(done.stdout.splitlines()[-1])
    for figure in ("read", "written", "written_late"):
        row[figure] *= weight
    print(f"  {engine:<10}" + "".join(f"{row[figure]:>12.2f}" for figure in FIGURES), flush=True)
    return row


print(f"  {'each turn':<10}" + "".join(f"{name:>12}" for name in FIGURES.values()))
rows = {engine: [] for engine in ENGINES}
for turn in range(turns):
    for engine in ENGINES:
        # Candle takes half a minute to load, and is no close race.
        if engine != "candle" or turn == 0:
            rows[engine].append(measure(engine))

print(f"\n{'median':<12}" + "".join(f"{name:>12}" for name in FIGURES.values()))
for engine, of in rows.items():
    print(f"{engine:<12}" + "".join(f"{statistics.median(row[figure] for row in of):>12.2f}" for figure in FIGURES))
for engine in list(ENGINES)[1:]:
    pairs = list(zip(rows["hearth"], rows[engine]))
    ratio = lambda figure: statistics.median(ours[figure] / theirs[figure] for ours, theirs in pairs)
    print(f"{'/ ' + engine:<12}" + "".join(f"{ratio(figure):>12.2f}" for figure in FIGURES))
print(rows["candle"][0]["note"] and f"candle: {rows['candle'][0]['note']}")
