"""Where talk comes from: the generator, written exchanges, a household's own questions, prose. Each episode knows what is true of it."""
import random, re
from dataclasses import dataclass, field
import household as hh, written as W

KINDS = list(hh.ALERTS)
# what the daemon's default rules ask, and what people may write instead
DEFAULT = {"help": "Is someone hurt or calling for help?", "fire": "Is there a fire?", "leak": "Is water leaking in the house?", "intruder": "Is someone trying to break in?", "door": "Is someone at the door?",
           "delivery": "Was something delivered?", "medicine": "Did someone forget their medicine?", "left_on": "Is anything left open or switched on by mistake?"}
MORE = {
    "help": ["Is anybody hurt?", "Does someone need an ambulance?", "Is someone unwell or injured?", "Has there been an accident?", "Is anyone in trouble?"],
    "fire": ["Is anything on fire?", "Is there smoke?", "Are there flames or smoke in the house?", "Is the house on fire?"],
    "leak": ["Is there water where it should not be?", "Is a pipe leaking?", "Has something flooded?", "Is water coming in?"],
    "intruder": ["Is there a burglar?", "Is a stranger in the house?", "Is anybody breaking in?", "Is there an intruder?"],
    "door": ["Is there somebody at the door?", "Did someone ring or knock?", "Has a visitor arrived?", "Is anyone at the front door?"],
    "delivery": ["Has a parcel arrived?", "Did the post bring something?", "Has anything been delivered?", "Did a delivery come?"],
    "medicine": ["Did somebody miss a dose?", "Were the pills forgotten?", "Has anyone not taken their medicine?", "Was a medicine forgotten?"],
    "left_on": ["Did someone forget to switch something off?", "Was a door or window left open?", "Has anything been left on?", "Is something still on or open that should not be?"]}
WORDINGS = {k: hh.ALERTS[k] + MORE[k] for k in KINDS}
# words after which prose is not asked about a kind
TOUCHY = re.compile(r"\b(fire|smok|burn|flam|leak|flood|water|drip|wet|help|hurt|fell|fall|fall|bleed|blood|pain|ill|sick|die|dead|kill|burglar|thief|rob|steal|stole|break|broke|police|door|knock|bell|ring|deliver|parcel|package|post|mail|letter|arriv|pill|medic|dose|drug|open|left|switch|light|stove|oven|accident|injur|wound|attack|shot|danger|emergency|ambulance|doctor|hospital)", re.I)


@dataclass
class Episode:
    parts: list
    kinds: list = field(default_factory=list)
    summary: str = ""
    facts: list = field(default_factory=list)
    own: list = field(default_factory=list)      # [(a household's own question, "Yes." or "No.")]
    source: str = ""
    prose: bool = False

    @property
    def text(self): return " ".join(self.parts)


def looser(parts, rng):
    """The same talk as a recogniser or a pause detector hands it over: joined, cut at commas, without marks or capitals."""
    x = rng.random()
    if x < 0.2 and len(parts) > 1:
        i = rng.randrange(len(parts) - 1); parts = parts[:i] + [parts[i] + " " + parts[i + 1]] + parts[i + 2:]
    elif x < 0.3:
        out = []
        for p in parts:
            cut = re.split(r"(?<=,) ", p, maxsplit=1) if rng.random() < 0.5 else [p]
            out += [cut[0].rstrip(",") + ("." if len(cut) > 1 else "")] + [c[0].upper() + c[1:] for c in cut[1:]]
        parts = out
    elif x < 0.35: parts = [" ".join(parts)]
    y = rng.random()
    if y < 0.06: parts = [re.sub(r"[.,!?]", "", p).lower() for p in parts]
    elif y < 0.12: parts = [p.replace("!", ".").replace("...", ".") for p in parts]
    elif y < 0.16: parts = [re.sub(r",", "", p) for p in parts]
    return parts


FILLERS = ["Hm.", "Okay.", "What?", "Right.", "Yeah.", "Oh.", "Mm.", "So.", "Anyway.", "Sorry?", "You know.", "Well.", "Uh.", "Hello?", "Thank you.", "All right.", "Yes.", "No.", "Good.", "Huh."]


class Source:
    """One kitchen table: episodes of every origin. `mix` gives each origin's share."""
    def __init__(self, rng, decks, mix, noise=0.02, alert_rate=0.35, plain=False):
        self.rng, self.decks, self.mix, self.noise, self.plain = rng, decks, mix, noise, plain
        self.home = hh.Household(rng.randrange(1 << 40), noise=noise, alert_rate=alert_rate)

    def next(self):
        rng, home = self.rng, self.home
        origin = rng.choices(list(self.mix), list(self.mix.values()))[0]
        home.rng = rng
        if origin == "written":
            d = self.decks["written"].draw(); t, s, q, k = W.fill(d, rng)
            e = Episode([hh.sentence_case(u.strip()) for u in t.split("|")], k, s, q, source="written")
        elif origin == "own":
            d, t, yes = self.decks["own"].draw(); q = rng.choice([d["question"]] + list(d.get("also", [])))
            t, q, _, _ = W.fill({"t": t, "s": q, "q": [], "k": []}, rng)
            e = Episode([hh.sentence_case(u.strip()) for u in t.split("|")], ["?"], "", [], [(q, "Yes." if yes else "No.")], source="own")
        elif origin == "prose":
            e = Episode([self.decks["prose"].draw() for _ in range(rng.choice([1, 1, 2, 3]))], [], prose=True, source="prose")
        elif origin in self.decks: e = self.decks[origin].draw()(rng)
        else:
            o = home.episode(); parts = re.split(r"(?<=[.!?]) (?=[A-Z])", o.text)
            if o.scenario == "appointment" and "the calendar" not in o.text and not re.search(r"'s appointment|going to the", o.text):
                o.summary = re.sub(r"^\w+ has", "Someone has", o.summary)      # whoever is addressed was not named
            if rng.random() < 0.6: parts = [" ".join(parts)]
            return Episode(parts, o.alerts, o.summary, o.facts, source="generator")
        if not self.plain:
            e.parts = looser(e.parts, rng)
            if not e.prose and rng.random() < 0.12: e.parts.insert(rng.choice([0, len(e.parts)]), rng.choice(FILLERS))
            e.parts = [home.garble(p) for p in e.parts]
        return e
