"""Six novels by Jane Austen (public domain), to count false alarms on: nothing was trained on them.

They are inside Debian's package r-cran-janeaustenr. Without installing R:

    apt-get download r-cran-janeaustenr && dpkg -x r-cran-janeaustenr_*.deb books
    export HEARTH_BOOKS=books/usr/lib/R/site-library/janeaustenr/data/Rdata.rdb
    python books.py FOLDER        # a text file for each novel, a sentence a line: talk for `hearth judge FOLDER`
"""
import os, re, struct, sys, zlib

PLACE = "/usr/lib/R/site-library/janeaustenr/data/Rdata.rdb"


def lines_of(values):
    """The strings of a serialized R vector: a CHARSXP header (00 04 00 09), the length, the bytes."""
    at = 0
    while (at := values.find(b"\x00\x04\x00\x09", at)) >= 0:
        length = struct.unpack(">i", values[at + 4:at + 8])[0]
        if 0 <= length < 2000: yield values[at + 8:at + 8 + length].decode("utf-8", "replace"); at += 8 + length
        else: at += 4


def novels():
    """The sentences of each novel, of 3 to 60 words."""
    path = os.environ.get("HEARTH_BOOKS", PLACE)
    if not os.path.exists(path): raise SystemExit(f"there are no books at {path}: books.py says where to get them")
    data, at = open(path, "rb").read(), 0
    while (at := data.find(b"\x78", at)) >= 0:
        d = zlib.decompressobj()
        try: values = d.decompress(data[at:])
        except zlib.error: at += 1; continue
        at = len(data) - len(d.unused_data)
        if len(values) < 100_000: continue
        paragraphs = re.split(r"\n\s*\n", "\n".join(lines_of(values))); out = []
        for p in paragraphs:
            text = re.sub(r"\s+", " ", p.replace("--", ", ").replace("_", "")).replace('"', "").strip()
            out += [s for s in re.split(r"(?<=[.!?;]) ", text) if 3 <= len(s.split()) <= 60 and not re.match(r"(CHAPTER|Chapter|VOLUME)\b", s)]
        yield out


if __name__ == "__main__":
    os.makedirs(sys.argv[1], exist_ok=True)
    for n, sentences in enumerate(novels()):
        with open(os.path.join(sys.argv[1], f"novel{n + 1}.txt"), "w", encoding="utf-8") as f: f.write("\n".join(sentences) + "\n")
        print(len(sentences), "sentences,", sum(len(s.split()) for s in sentences), "words:", sentences[3][:80])
