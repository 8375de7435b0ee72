"""Writes talk of one endless household, an utterance a line, for `hearth bench sound`.

    python talk.py SEED UTTERANCES > talk.txt
"""
import itertools, re, sys
import household as hh


def utterances(seed):
    """Sentences in twos, as a recognizer cuts them."""
    home = hh.Household(seed, noise=0.01, alert_rate=0.2)
    while True:
        sentences = re.findall(r"[^.!?]+[.!?]*", home.episode().text)
        for at in range(0, len(sentences), 2):
            yield " ".join(sentence.strip() for sentence in sentences[at:at + 2])


if __name__ == "__main__":
    for line in itertools.islice(utterances(int(sys.argv[1])), int(sys.argv[2])):
        print(line)
