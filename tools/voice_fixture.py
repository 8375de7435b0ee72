#!/usr/bin/env python3
"""Writes tests/fixtures/voices.jsonl: voice embeddings of pieces of a bundled recording, as the PyPI package resemblyzer computes them.

hearth's voice encoder must give the same (tests/speakers).

    pip install resemblyzer==0.1.4 librosa==0.11.0 soundfile
    tools/voice_fixture.py
"""

import json
import pathlib
import warnings

warnings.filterwarnings("ignore")
import numpy as np
import soundfile
from resemblyzer import VoiceEncoder
from resemblyzer.audio import normalize_volume

ROOT = pathlib.Path(__file__).resolve().parent.parent
# Seconds. Short, quiet and long ones: one window, padded; several windows; and a last window that is dropped.
PIECES = [(0.5, 1.3, 1.0), (0.5, 2.9, 1.0), (6.0, 8.0, 0.01), (20.0, 25.0, 0.3)]


def main():
    sound, rate = soundfile.read(ROOT / "examples/household.flac", dtype="float32")
    assert rate == 16000 and sound.ndim == 1
    encoder = VoiceEncoder("cpu", verbose=False)
    with open(ROOT / "tests/fixtures/voices.jsonl", "w") as out:
        for start, end, gain in PIECES:
            piece = sound[int(start * rate) : int(end * rate)] * np.float32(gain)
            piece = normalize_volume(piece, -30, increase_only=True).astype(np.float32)
            embedding, windows, _ = encoder.embed_utterance(piece, return_partials=True)
            numbers = lambda row: [round(float(x), 6) for x in row]
            line = {"start": start, "end": end, "gain": gain, "windows": [numbers(row) for row in windows], "embedding": numbers(embedding)}
            out.write(json.dumps(line, separators=(",", ":")) + "\n")


main()
