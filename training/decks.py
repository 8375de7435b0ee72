"""In which order the trainer meets the written lines: each once before any again, and pairs together."""
import phrases, split

# Files whose lines are pairs: an emergency, then its harmless double.
PAIR_FILES = ("w11.jsonl", "h4.jsonl", "h5.jsonl", "h7.jsonl", "h13.jsonl")


def pair_of(line): return (line["file"], line["line"] // 2) if line["file"] in PAIR_FILES else None


class Deck:
    """Draws each of `cards` once before any comes again. Neighbors of which `pair` gives the same are drawn together."""
    def __init__(self, cards, rng, pair=lambda card: None):
        self.rng, self.left, self.groups = rng, [], []
        self.cards = list(cards); before = None
        for card in self.cards:
            this = pair(card)
            if this is not None and this == before: self.groups[-1].append(card)
            else: self.groups.append([card])
            before = this

    def draw(self):
        if not self.left:
            self.rng.shuffle(self.groups); self.left = [card for group in self.groups for card in group]
        return self.left.pop()


def decks(rng, prose=()):
    """The training part, shuffled."""
    lines = split.exchanges()[0]; own = split.questions()[0]
    found = {"written": Deck(lines, rng, pair_of), "own": Deck([(d, t, y) for d in own for y in (True, False) for t in d["yes" if y else "no"]], rng)}
    if prose: found["prose"] = Deck(list(prose), rng)
    found["phrases"] = phrases.deck()
    return found
