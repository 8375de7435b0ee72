"""Free prose for language modelling, from two Debian packages: `fortunes` and `wordnet-base` (definitions and example sentences).

    python text.py > text.txt        # one or a few sentences a line; fewer lines, or none, where a package is missing
"""
import glob, os, re, sys


def clean(s):
    s = re.sub(r"\s+", " ", s.replace("`", "'").replace("--", ",").replace('"', "")).strip()
    return s if 3 <= len(s.split()) <= 60 and re.fullmatch(r"[A-Za-z0-9 .,;:!?'()$%&/-]+", s) and sum(c.isalpha() for c in s) > 0.7 * len(s) else ""


def fortunes(folder="/usr/share/games/fortunes"):
    skip = {"ascii-art", "computers", "linux", "linuxcookie", "debian", "perl", "knghtbrd", "startrek", "magic", "song-poems", "translate-me", "paradoxum", "tao", "zippy", "goedel", "drugs", "ethnic", "sex"}
    for path in sorted(glob.glob(folder + "/*")):
        if os.path.basename(path) in skip or "." in os.path.basename(path): continue
        for piece in open(path, encoding="latin1").read().split("\n%\n"):
            piece = re.sub(r"\n\s*--.*", "", piece, flags=re.S)
            s = clean(piece)
            if s: yield s


def wordnet(folder="/usr/share/wordnet"):
    for path in sorted(glob.glob(folder + "/data.*")):
        for line in open(path, encoding="latin1"):
            if line.startswith("  ") or " | " not in line: continue
            head, gloss = line.split(" | ", 1); word = head.split()[4].split("(")[0].replace("_", " ")
            if re.search(r"[A-Z0-9]", word): continue
            examples = re.findall(r'"([^"]+)"', gloss); meaning = gloss.split('; "')[0].strip()
            for e in examples:
                s = clean(e)
                if s and "_" not in s: yield s[0].upper() + s[1:] + ("" if s[-1] in ".!?" else ".")
            s = clean(f"{word}: {meaning}.")
            if s and len(word.split()) == 1 and examples: yield s[0].upper() + s[1:]


if __name__ == "__main__":
    out = list(dict.fromkeys(list(fortunes()) + list(wordnet())))
    print("\n".join(out)); print(len(out), "lines", sum(len(x.split()) for x in out), "words", file=sys.stderr)
