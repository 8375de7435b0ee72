#!/usr/bin/env python3
"""Makes pieces of speech by people who are known, for `hearth bench speakers`: of 1, 2 and 4 seconds, as they are, far away and in noise.

    pip install numpy soundfile
    tools/voice_pieces.py SPEECH NOISE FOLDER
    hearth bench speakers FOLDER

SPEECH holds recordings and a manifest.tsv with the columns file, speaker and seconds, NOISE any recordings. Each speaker is in one of two
parts: thresholds are chosen on "choose", and docs/speakers.md tells those of "judge". Everybody is enrolled by the first of their recordings,
at least 15 s, and tried by others; a speaker with a single recording is enrolled by its beginning. Far is an echo of 0.5 s with the direct
sound 6 dB below it, each time another one, and noise is 10 dB below the speech. In the parts "choose-far" and "judge-far" everybody is enrolled far away, too.
"""

import collections
import csv
import pathlib
import sys

import numpy as np
import soundfile

RATE = 16000
ECHO_S = 0.5
ENROLL_S = 15
TRIES = 24
# By hand, so that each part has men and women, and readers of the same collection.
JUDGE = {"ls-1688", "ls-2033", "ls-3080", "ls-533", "lj-linda-johnson", "lv-stewart-wills", "jfk", "ls-1995", "lv-sonnets"}


def load(path):
    samples, rate = soundfile.read(path, dtype="float64", always_2d=True)
    samples = samples.mean(axis=1)
    if rate != RATE:
        count = int(len(samples) * RATE / rate)
        spectrum = np.fft.rfft(samples)
        bins = count // 2 + 1
        spectrum = np.pad(spectrum[:bins], (0, max(0, bins - len(spectrum))))
        samples = np.fft.irfft(spectrum, count) * count / len(samples)
    return samples


def echo(samples, random):
    count = int(ECHO_S * RATE)
    tail = random.normal(0, 1, count) * 10 ** (-3 * np.arange(count) / count)
    tail[:32] = 0
    tail /= np.sqrt((tail ** 2).sum())
    tail[0] = 0.5
    return np.convolve(samples, tail)[: len(samples)]


def power(samples):
    return (samples ** 2).mean()


def cut(samples, count, random):
    """A piece in which somebody speaks; the beginning and end of pauses are not."""
    for _ in range(20):
        at = random.integers(0, len(samples) - count + 1)
        piece = samples[at : at + count]
        if power(piece) > power(samples) / 4:
            return piece
    return None


def main():
    speech, noise, folder = map(pathlib.Path, sys.argv[1:4])
    random = np.random.default_rng(7)
    rows = list(csv.DictReader(open(speech / "manifest.tsv"), delimiter="\t", quoting=csv.QUOTE_NONE))
    by_speaker = collections.defaultdict(list)
    for row in rows:
        if row["speaker"] and "+" not in row["speaker"] and not row["set"].startswith(("ami", "vctk_noisy")):
            by_speaker[row["speaker"]].append(load(speech / row["file"]))
    noises = [load(path) for path in sorted(noise.glob("*.flac")) if "music" not in path.name and "silence" not in path.name]
    folder.mkdir(parents=True, exist_ok=True)
    table = csv.writer(open(folder / "pieces.tsv", "w"), delimiter="\t", lineterminator="\n")
    table.writerow(["file", "part", "speaker", "condition", "seconds", "enrolls"])
    count = 0

    def write(samples, *cells):
        nonlocal count
        count += 1
        samples = samples * 10 ** (-26 / 20) / np.sqrt(power(samples))
        soundfile.write(folder / f"{count:05}.wav", np.clip(samples, -1, 1), RATE, subtype="PCM_16")
        table.writerow([f"{count:05}.wav", *cells])

    for speaker, recordings in sorted(by_speaker.items()):
        part = "judge" if speaker in JUDGE else "choose"
        own, others = [], list(recordings)
        while others and sum(map(len, own)) < ENROLL_S * RATE:
            own.append(others.pop(0))
        if not others or sum(map(len, others)) < 8 * RATE:
            whole = np.concatenate(recordings)
            half = min(ENROLL_S * RATE, len(whole) // 2)
            own, others = [whole[:half]], [whole[half:]]
        for recording in own:
            for at in range(0, len(recording) - RATE, 6 * RATE):
                write(recording[at : at + 6 * RATE], part, speaker, "clean", 6, "true")
                write(echo(recording[at : at + 6 * RATE], random), part + "-far", speaker, "far", 6, "true")
        for seconds in (1, 2, 4):
            long = [recording for recording in others if len(recording) >= seconds * RATE]
            for n in range(TRIES if long else 0):
                piece = cut(long[n % len(long)], seconds * RATE, random)
                if piece is None:
                    continue
                background = noises[random.integers(len(noises))]
                background = cut(np.resize(background, max(len(background), len(piece))), len(piece), random)
                write(piece, part, speaker, "clean", seconds, "false")
                far = echo(piece, random)
                write(far, part, speaker, "far", seconds, "false")
                write(far, part + "-far", speaker, "far", seconds, "false")
                if background is not None:
                    scale = np.sqrt(power(piece) / power(background) / 10)
                    write(piece + scale * background, part, speaker, "noise", seconds, "false")


main()
