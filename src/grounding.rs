//! Keeps a model's sentences to what was said.
//!
//! A language model writes sentences that nobody could have learned from the talk: names, hours and things of its own. Every summary,
//! answer and sentence of an alert passes through here on its way out. A sentence stays if its names, numbers, times and days were
//! said, and said close to each other; it comes with the utterances that it rests on. A person who was not named there becomes
//! "someone". Nothing here asks a model, so it holds for any model; it needs a word list only to tell whether the first word of an
//! English sentence is a name.
//!
//! It cannot tell whether a sentence is true: "The pills were taken" rests on the same words as "The pills were not taken".

mod numbers;
mod words;

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::LazyLock;

use tracing::debug;

use self::numbers::{Value, numbers};
use self::words::{TextWord, sentences, words};
use crate::event::{Evidence, GroundedSentence};

/// What a sentence names must have been said within so many characters. 120 to 200 gave the same on talk with known content.
const CLOSE_CHARS: usize = 160;
/// Of the words of a sentence that carry content, this part must have been said in some form: 1/3. On 60 households with known content
/// nine sentences in ten were true with it, and 17 in 20 without it; a half gave the same, two thirds lost half of the true ones.
const MIN_SUPPORT_DIVISOR: usize = 3;
/// A sentence quotes at most so many utterances.
const MAX_QUOTES: usize = 3;
/// A sentence that says the same words so often in a row is a loop.
const LOOP_REPEATS: usize = 3;

/// Words that begin English sentences without being a name. `training/common_words.py` makes the list.
static COMMON_WORDS: LazyLock<HashSet<&str>> =
    LazyLock::new(|| include_str!("grounding/common_words.txt").lines().collect());

/// Words that tell a day or a month. They must have been said, and are nobody's name.
const DAYS: &str = "monday tuesday wednesday thursday friday saturday sunday january february march april june july august september october \
                    november december montag dienstag mittwoch donnerstag freitag samstag sonnabend sonntag januar februar marz mai juni juli oktober dezember \
                    today tonight tomorrow yesterday heute morgen gestern aujourd'hui demain hier hoy ayer oggi domani ieri vandaag gisteren \
                    lundi mardi mercredi jeudi vendredi samedi dimanche lunes martes miercoles jueves viernes sabado domingo \
                    lunedi martedi mercoledi giovedi venerdi sabato domenica maandag dinsdag woensdag donderdag vrijdag zaterdag zondag";

/// Words that carry no content of their own. Only English ones are listed; in other languages short words are left out.
const FUNCTION_WORDS: &str = "a about after again all also am an and any anybody anyone are as asked at be because been before being both but by \
    can could did do does done down for from get got had has have he her here him his how i if in into is it its just like may me might \
    more most my new no nobody not now of off on one only or other our out over said say says she should so some somebody someone \
    something talked talk planned than that the their them then there they this those to too under until up was we were what when where which while who \
    why will with would yes you your";

/// First names that are words, too: at the beginning of a sentence they are taken for names.
const ALSO_NAMES: &str = "amber angel art bill bob candy chance chase cliff daisy dale dawn dean drew faith frank gene glen grace grant guy \
                          hazel heather hope hunter iris ivy jack jade jasmine joy lance lily mark mason miles nick olive pat pearl penny ray rich rob \
                          robin rose ruby rusty sandy sue victor violet wade ward";

static NAME: LazyLock<HashSet<&str>> = LazyLock::new(|| ALSO_NAMES.split_whitespace().collect());
static FUNCTION: LazyLock<HashSet<&str>> = LazyLock::new(|| FUNCTION_WORDS.split_whitespace().collect());
static DAY: LazyLock<HashSet<&str>> = LazyLock::new(|| DAYS.split_whitespace().collect());

/// Talk that a model's text may rest on.
pub(crate) struct Talk<'a> {
    utterances: &'a [Evidence],
    words: Vec<SpokenWord>,
    /// Where each word, number and time was said, as indices into `words`.
    said: HashMap<Said, Vec<usize>>,
}

struct SpokenWord {
    utterance: usize,
    /// Distance from the first character of the talk.
    at: usize,
    text: String,
    capital: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Said {
    Word(String),
    Value(Value),
}

/// What the gate made of a text.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct GroundedText {
    pub(crate) sentences: Vec<GroundedSentence>,
    /// Sentences that were dropped because something in them was not said.
    pub(crate) dropped: u32,
    /// Sentences that were dropped because they were said before, were cut, or went round in a loop.
    pub(crate) repeated: u32,
    /// Sentences in which a person became "someone".
    pub(crate) softened: u32,
}

/// How many sentences were told and not told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct GateCounts {
    pub(crate) told: u64,
    pub(crate) dropped: u64,
    pub(crate) repeated: u64,
    pub(crate) softened: u64,
}

impl GateCounts {
    /// Counts the sentences of a text.
    pub(crate) fn add(&mut self, text: &GroundedText) {
        self.told += text.sentences.len() as u64;
        self.dropped += u64::from(text.dropped);
        self.repeated += u64::from(text.repeated);
        self.softened += u64::from(text.softened);
    }

    /// Adds other counts.
    pub(crate) fn merge(&mut self, more: Self) {
        let Self { told, dropped, repeated, softened } = more;
        self.told += told;
        self.dropped += dropped;
        self.repeated += repeated;
        self.softened += softened;
    }
}

impl GroundedText {
    /// The sentences as one text.
    pub(crate) fn text(&self) -> String {
        self.sentences.iter().map(|sentence| sentence.text.as_str()).collect::<Vec<_>>().join(" ")
    }

    /// Adds the sentences of another text, without those that are the same.
    pub(crate) fn append(&mut self, more: Self) {
        let mut told: HashSet<_> = self.sentences.iter().map(|sentence| signature(&words(&sentence.text))).collect();
        for sentence in more.sentences {
            if told.insert(signature(&words(&sentence.text))) {
                self.sentences.push(sentence);
            } else {
                self.repeated += 1;
            }
        }
        self.dropped += more.dropped;
        self.repeated += more.repeated;
        self.softened += more.softened;
    }
}

/// How the gate treats a text.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Gate<'a> {
    /// The word for a person who is not known.
    pub(crate) someone: &'a str,
    /// Whether persons may be named; false for a model that was measured to take one for another.
    pub(crate) names_persons: bool,
    /// A question whose words an answer may repeat; empty for none.
    pub(crate) question: &'a str,
}

/// A word or number of a sentence that must have been said.
struct Claim {
    /// The bytes of the sentence it takes.
    written: Range<usize>,
    /// One of these must have been said.
    any: Vec<Said>,
    kind: ClaimKind,
}

#[derive(Clone, Copy, PartialEq)]
enum ClaimKind {
    /// Written with a capital where a person could be named.
    Person {
        possessive: bool,
    },
    Other,
}

impl<'a> Talk<'a> {
    /// Prepares utterances, oldest first.
    pub(crate) fn new(utterances: &'a [Evidence]) -> Self {
        let mut talk = Self { utterances, words: Vec::new(), said: HashMap::new() };
        let mut start = 0;
        for (utterance, evidence) in utterances.iter().enumerate() {
            let found = words(&evidence.text);
            let first = talk.words.len();
            for number in numbers(&found) {
                let counts = counts_things(&evidence.text, &found, number.words.end);
                // "Seven eggs" tells no time.
                for reading in
                    number.readings.into_iter().filter(|reading| !counts || matches!(reading, Value::Number(_)))
                {
                    talk.said.entry(Said::Value(reading)).or_default().push(first + number.words.start);
                }
            }
            for word in found {
                let index = talk.words.len();
                talk.said.entry(Said::Word(singular(&word.text))).or_default().push(index);
                let at = start + evidence.text[..word.written.start].chars().count();
                talk.words.push(SpokenWord { utterance, at, text: word.text, capital: word.capital });
            }
            start += evidence.text.chars().count() + 1;
        }
        talk.said.values_mut().for_each(|places| places.sort_unstable());
        talk
    }

    /// The sentences of `text` that may be told. `ended` is false when the model was cut off while it wrote.
    pub(crate) fn ground(&self, text: &str, ended: bool, gate: Gate) -> GroundedText {
        let mut grounded = GroundedText::default();
        let asked: HashSet<String> = words(gate.question).iter().map(|word| singular(&word.text)).collect();
        let mut told: HashSet<Vec<String>> = HashSet::new();
        let all = sentences(text);
        for (index, sentence) in all.iter().enumerate() {
            let is_cut = !ended && !sentence.ended && index + 1 == all.len();
            let written = &text[sentence.written.clone()];
            let found = words(written);
            if is_cut || loops(&found) || !told.insert(signature(&found)) {
                grounded.repeated += 1;
                continue;
            }
            match self.sentence(written, &found, &asked, gate) {
                Some((sentence, softened)) => {
                    // "Sarah called." and "Emma called." are one sentence once both are "someone".
                    if softened && !told.insert(signature(&words(&sentence.text))) {
                        grounded.repeated += 1;
                        continue;
                    }
                    grounded.softened += u32::from(softened);
                    grounded.sentences.push(sentence);
                }
                None => {
                    debug!(sentence = written, "a sentence of the model is not told: not all of it was said");
                    grounded.dropped += 1;
                }
            }
        }
        grounded
    }

    /// The sentence with what it rests on, and whether a person was replaced; none if it may not be told.
    fn sentence(
        &self,
        text: &str,
        found: &[TextWord],
        asked: &HashSet<String>,
        gate: Gate,
    ) -> Option<(GroundedSentence, bool)> {
        let claims = self.claims(text, found, asked);
        let (persons, fixed): (Vec<_>, Vec<_>) =
            claims.iter().partition(|claim| matches!(claim.kind, ClaimKind::Person { .. }));
        let content = content(found, asked, &claims);
        let support = |window: &Range<usize>| content.iter().filter(|word| self.says(word, window)).count();
        let mut kept = fixed;
        let mut window = self.window(&kept, &content)?;
        let mut softened = Vec::new();
        for person in persons {
            kept.push(person);
            // Somebody else's name stands where little of the rest was said.
            let bound =
                self.window(&kept, &content).filter(|with| gate.names_persons && 2 * support(with) >= support(&window));
            match bound {
                Some(with_person) => window = with_person,
                None => softened.extend(kept.pop()),
            }
        }
        // Too little of the rest was said there: other things were talked about.
        if support(&window) * MIN_SUPPORT_DIVISOR < content.len() {
            return None;
        }
        if softened.len() > 1 || (!softened.is_empty() && !is_english(found)) {
            return None;
        }
        let evidence = if content.is_empty() && claims.is_empty() {
            Vec::new()
        } else {
            self.evidence(&window, &claims, &content)
        };
        let text = softened.iter().fold(text.to_string(), |text, claim| soften(&text, claim, gate.someone));
        Some((GroundedSentence { text, evidence }, !softened.is_empty()))
    }

    /// What a sentence claims: names, numbers, times, days.
    fn claims(&self, text: &str, found: &[TextWord], asked: &HashSet<String>) -> Vec<Claim> {
        let mut claims: Vec<Claim> = Vec::new();
        let mut number_words = HashSet::new();
        for number in numbers(found) {
            number_words.extend(number.words.clone());
            // "Ten thirty" was not said where "ten" was: it must have been said as a time, or both of its numbers.
            let parts = match number.pair {
                Some(pair) if !self.said.contains_key(&Said::Value(pair.together)) => pair.alone.to_vec(),
                Some(pair) => vec![(number.words, vec![pair.together])],
                None if is_time(text, found, &number.words) => {
                    let times = |reading: &Value| matches!(reading, Value::Time(_));
                    let readings: Vec<_> = number.readings.iter().copied().filter(times).collect();
                    vec![(number.words, if readings.is_empty() { number.readings } else { readings })]
                }
                None => vec![(number.words, number.readings)],
            };
            for (part, readings) in parts {
                if part.clone().all(|index| asked.contains(&singular(&found[index].text))) {
                    continue;
                }
                let written = found[part.start].written.start..found[part.end - 1].written.end;
                let words = readings.iter().flat_map(|reading| small_number(*reading));
                let words: Vec<_> = words.map(|word| Said::Word((*word).into())).collect();
                let any = readings.into_iter().map(Said::Value).chain(words).collect();
                claims.push(Claim { written, any, kind: ClaimKind::Other });
            }
        }
        for (index, word) in found.iter().enumerate() {
            if number_words.contains(&index) || asked.contains(&singular(&word.text)) {
                continue;
            }
            // What holds digits and is no number that is understood, such as 39.5, must stand there as it is.
            let is_day = DAY.contains(word.text.as_str())
                || DAY.contains(singular(&word.text).as_str())
                || word.text.contains(|c: char| c.is_numeric());
            let is_item = is_list_item(text, found, index);
            let is_name = word.capital && !is_pronoun(&word.text) && (index > 0 || !self.begins_sentences(&word.text));
            let times =
                index.checked_sub(1).and_then(|before| part_of_time(&found[before].text, &word.text)).unwrap_or(&[]);
            let is_day = is_day || !times.is_empty();
            if !is_day && !is_name && !is_item {
                continue;
            }
            let before = index.checked_sub(1).map(|before| &found[before]);
            // "Uncle Joe" is one person.
            let joined = claims.last_mut().filter(|last| {
                is_name
                    && matches!(last.kind, ClaimKind::Person { possessive: false })
                    && before.is_some_and(|before| before.written.end == last.written.end)
                    && text[last.written.end..word.written.start].trim_matches([' ', '.', '-']).is_empty()
            });
            let mut any = vec![Said::Word(singular(&word.text))];
            any.extend(times.iter().map(|word| Said::Word((*word).into())));
            if let Some(last) = joined {
                // Each part must have been said; the rarer one decides.
                let places =
                    |said: &[Said]| said.iter().map(|said| self.said.get(said).map_or(0, Vec::len)).sum::<usize>();
                if places(&any) < places(&last.any) {
                    last.any = any;
                }
                last.written.end = word.written.end;
                last.kind = ClaimKind::Person { possessive: word.possessive };
                continue;
            }
            let person = is_name && !is_day && could_be_person(&word.text, before);
            let kind = if person { ClaimKind::Person { possessive: word.possessive } } else { ClaimKind::Other };
            claims.push(Claim { written: word.written.clone(), any, kind });
        }
        claims.sort_by_key(|claim| claim.written.start);
        claims
    }

    /// Whether a word at the beginning of a sentence needs no proof: it is no name.
    fn begins_sentences(&self, word: &str) -> bool {
        let said_small = || {
            let places = self.said.get(&Said::Word(singular(word)));
            places.is_some_and(|places| places.iter().any(|place| !self.words[*place].capital))
        };
        !NAME.contains(word) && (COMMON_WORDS.contains(word) || FUNCTION.contains(word) || said_small())
    }

    /// The stretch of talk, as indices of words, in which all claims stand close together; the one with the most of `content`, then
    /// the last. Without claims, the stretch around the utterance with the most of `content`.
    fn window(&self, claims: &[&Claim], content: &[String]) -> Option<Range<usize>> {
        let places: Vec<Vec<usize>> = claims
            .iter()
            .map(|claim| {
                let mut places: Vec<usize> =
                    claim.any.iter().filter_map(|said| self.said.get(said)).flatten().copied().collect();
                places.sort_unstable();
                places
            })
            .collect();
        if places.iter().any(Vec::is_empty) {
            return None;
        }
        let anchors: Vec<usize> = match places.iter().min_by_key(|places| places.len()) {
            Some(rarest) => rarest.clone(),
            None => {
                let mut all: Vec<usize> = content.iter().flat_map(|word| self.places_of(word)).collect();
                all.sort_unstable();
                all.dedup();
                all
            }
        };
        let mut best: Option<(usize, Range<usize>)> = None;
        for anchor in anchors {
            let mut window = anchor..anchor + 1;
            let nearest = |places: &Vec<usize>| {
                places.iter().copied().min_by_key(|place| self.words[*place].at.abs_diff(self.words[anchor].at))
            };
            for place in places.iter().filter_map(nearest) {
                window = window.start.min(place)..window.end.max(place + 1);
            }
            if self.length(&window) > CLOSE_CHARS {
                continue;
            }
            let around = self.around(&window);
            let score = content.iter().filter(|word| self.says(word, &around)).count();
            if best.as_ref().is_none_or(|(most, _)| score >= *most) {
                best = Some((score, around));
            }
        }
        match best {
            Some((_, window)) => Some(window),
            // Nothing was claimed, and nothing of it was said.
            None => claims.is_empty().then_some(0..0),
        }
    }

    fn length(&self, window: &Range<usize>) -> usize {
        self.words[window.end - 1].at - self.words[window.start].at
    }

    /// A window grown to both sides, up to the greatest length.
    fn around(&self, window: &Range<usize>) -> Range<usize> {
        let mut grown = window.clone();
        loop {
            let left =
                grown.start.checked_sub(1).map(|start| start..grown.end).filter(|g| self.length(g) <= CLOSE_CHARS);
            let right =
                Some(grown.start..grown.end + 1).filter(|g| g.end <= self.words.len() && self.length(g) <= CLOSE_CHARS);
            let distance = |to: usize, from: usize| self.words[to].at.abs_diff(self.words[from].at);
            grown = match (left, right) {
                (Some(l), Some(r)) => {
                    let nearer = distance(l.start, window.start) <= distance(r.end - 1, window.end - 1);
                    if nearer { l } else { r }
                }
                (Some(only), None) | (None, Some(only)) => only,
                (None, None) => return grown,
            };
        }
    }

    fn places_of<'b>(&'b self, word: &'b str) -> impl Iterator<Item = usize> + 'b {
        self.words.iter().enumerate().filter(|(_, spoken)| is_form_of(&spoken.text, word)).map(|(index, _)| index)
    }

    fn says(&self, word: &str, window: &Range<usize>) -> bool {
        self.words[window.clone()].iter().any(|spoken| is_form_of(&spoken.text, word))
    }

    /// The utterances in the window that hold a claim or most of the content.
    fn evidence(&self, window: &Range<usize>, claims: &[Claim], content: &[String]) -> Vec<Evidence> {
        let mut scores: Vec<(usize, usize)> = Vec::new();
        for spoken in &self.words[window.clone()] {
            let claimed =
                claims.iter().flat_map(|claim| &claim.any).any(|said| *said == Said::Word(singular(&spoken.text)));
            let score = usize::from(claimed) + usize::from(content.iter().any(|word| is_form_of(&spoken.text, word)));
            match scores.last_mut().filter(|(utterance, _)| *utterance == spoken.utterance) {
                Some((_, sum)) => *sum += score,
                None => scores.push((spoken.utterance, score)),
            }
        }
        // Numbers may be written in another way than they were said, so utterances count that hold one as a value.
        for place in claims.iter().flat_map(|claim| &claim.any).filter_map(|said| match said {
            Said::Value(_) => self.said.get(said),
            Said::Word(_) => None,
        }) {
            for place in place.iter().filter(|place| window.contains(place)) {
                let utterance = self.words[*place].utterance;
                scores.iter_mut().filter(|(of, _)| *of == utterance).for_each(|(_, sum)| *sum += 1);
            }
        }
        scores.retain(|(_, score)| *score > 0);
        scores.sort_by_key(|(utterance, score)| (std::cmp::Reverse(*score), std::cmp::Reverse(*utterance)));
        scores.truncate(MAX_QUOTES);
        scores.sort_unstable();
        scores.into_iter().map(|(utterance, _)| self.utterances[utterance].clone()).collect()
    }
}

/// Whether the number that ends before the word `end` tells how many of something: "seven eggs", not "seven o'clock".
fn counts_things(text: &str, found: &[TextWord], end: usize) -> bool {
    let Some(next) = found.get(end) else { return false };
    let beside = &text[found[end - 1].written.end..next.written.start] == " ";
    let hours = matches!(next.text.as_str(), "heures" | "horas");
    beside && !hours && next.text.len() > 3 && next.text.ends_with('s') && !FUNCTION.contains(next.text.as_str())
}

/// Whether a number of a sentence tells a time of day: "at 7".
fn is_time(text: &str, found: &[TextWord], number: &Range<usize>) -> bool {
    let before = number.start.checked_sub(1).map(|before| found[before].text.as_str());
    matches!(before, Some("at" | "until" | "till")) && !counts_things(text, found, number.end)
}

/// Of a part of the day or the week, the words of which one must have been said.
fn part_of_time(before: &str, word: &str) -> Option<&'static [&'static str]> {
    match word {
        "morning" => Some(&["morning"]),
        "afternoon" => Some(&["afternoon"]),
        "evening" => Some(&["evening", "tonight", "night"]),
        "weekend" => Some(&["weekend", "saturday", "sunday"]),
        "week" if matches!(before, "next" | "last" | "this") => Some(&["week"]),
        "month" if matches!(before, "next" | "last" | "this") => Some(&["month"]),
        "year" if matches!(before, "next" | "last" | "this") => Some(&["year"]),
        _ => None,
    }
}

/// Words for numbers that are not read as such, because they mean other things, too.
fn small_number(value: Value) -> &'static [&'static str] {
    match value {
        Value::Number(1) => &["one", "first", "once"],
        Value::Number(2) => &["second", "twice", "couple", "pair"],
        _ => &[],
    }
}

fn is_pronoun(word: &str) -> bool {
    matches!(word, "i" | "i'm" | "i'll" | "i've" | "i'd")
}

/// Whether a word with a capital could be a person: not after "in", "the" and the like.
fn could_be_person(word: &str, before: Option<&TextWord>) -> bool {
    const PLACES: [&str; 12] = ["in", "at", "on", "near", "the", "a", "an", "to", "into", "towards", "of", "called"];
    !DAY.contains(word) && !before.is_some_and(|before| PLACES.contains(&before.text.as_str()))
}

/// Whether a word ends an item of a list ("milk, toilet paper and flour"), or begins the last: each item must have been said.
fn is_list_item(text: &str, found: &[TextWord], index: usize) -> bool {
    let word = &found[index];
    if word.text.chars().count() < 3 || FUNCTION.contains(word.text.as_str()) || !text.contains(',') {
        return false;
    }
    let between = |at: usize| found.get(at + 1).map_or("", |next| &text[found[at].written.end..next.written.start]);
    let is_and = |at: Option<usize>| {
        at.and_then(|at| found.get(at)).is_some_and(|word| matches!(word.text.as_str(), "and" | "or"))
    };
    between(index).contains(',') || is_and(Some(index + 1)) || is_and(index.checked_sub(1))
}

/// The words of a sentence that should have been said in some form: not those of the question, nor those that are claims.
fn content(found: &[TextWord], asked: &HashSet<String>, claims: &[Claim]) -> Vec<String> {
    let claimed = |word: &TextWord| claims.iter().any(|claim| claim.written.contains(&word.written.start));
    let has_content = |word: &&TextWord| {
        let text = word.text.as_str();
        text.chars().count() > 2 && !FUNCTION.contains(text) && !asked.contains(&singular(text)) && !claimed(word)
    };
    found.iter().filter(has_content).map(|word| word.text.clone()).collect()
}

/// Whether most words in small letters are English, so that "someone" fits.
fn is_english(found: &[TextWord]) -> bool {
    let small: Vec<_> = found.iter().filter(|word| !word.capital).collect();
    let english =
        small.iter().filter(|word| COMMON_WORDS.contains(word.text.as_str()) || FUNCTION.contains(word.text.as_str()));
    2 * english.count() > small.len()
}

/// A word without the `s` of a plural, so that "pills" is "pill".
fn singular(word: &str) -> String {
    word.strip_suffix('s').filter(|rest| rest.len() > 2 && !rest.ends_with('s')).unwrap_or(word).to_string()
}

/// Whether two words are likely forms of one: their first letters are the same.
fn is_form_of(spoken: &str, word: &str) -> bool {
    let common = spoken.chars().zip(word.chars()).take_while(|(a, b)| a == b).count();
    let (short, long) = {
        let (a, b) = (spoken.chars().count(), word.chars().count());
        (a.min(b), a.max(b))
    };
    spoken == word || (common >= 4 && common + 3 >= long) || (common == short && short >= 3 && long - short <= 3)
}

/// The sentences of a text.
pub(crate) fn sentences_of(text: &str) -> impl Iterator<Item = &str> {
    sentences(text).into_iter().map(|sentence| &text[sentence.written])
}

/// What makes two sentences the same: their words that carry content, in any order.
fn signature(found: &[TextWord]) -> Vec<String> {
    let mut all: Vec<String> = found
        .iter()
        .filter(|word| !matches!(word.text.as_str(), "the" | "a" | "an" | "and"))
        .map(|word| word.text.clone())
        .collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// Whether up to eight words are said again and again.
fn loops(found: &[TextWord]) -> bool {
    (1..=8).any(|length| {
        found
            .windows(length * LOOP_REPEATS)
            .any(|part| (length..part.len()).all(|at| part[at].text == part[at - length].text))
    })
}

/// The text with the claim's person replaced.
fn soften(text: &str, claim: &Claim, someone: &str) -> String {
    let ClaimKind::Person { possessive } = claim.kind else { return text.into() };
    let mut word = someone.to_string();
    if claim.written.start == 0
        && let Some(first) = word.chars().next()
    {
        word = first.to_uppercase().chain(word.chars().skip(1)).collect();
    }
    let possessive = if possessive { "'s" } else { "" };
    format!("{}{word}{possessive}{}", &text[..claim.written.start], &text[claim.written.end..])
}

#[cfg(test)]
mod tests;
