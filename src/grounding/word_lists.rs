//! Lists of words: common English words, days, words without content, names that are words, too.

use std::collections::HashSet;
use std::sync::LazyLock;

use super::words::TextWord;

/// Words that begin English sentences without being a name. `training/common_words.py` makes the list.
pub(super) static COMMON_WORDS: LazyLock<HashSet<&str>> =
    LazyLock::new(|| include_str!("common_words.txt").lines().collect());

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

/// Words with which the talk itself is asked about: "What was the recent conversation about?"
const TALK_WORDS: &str = "conversation conversations discuss discussed discussing discussion happen happened happening lately recent recently \
                          summarise summarize summary talking";

/// First names that are words, too: at the beginning of a sentence they are taken for names.
const ALSO_NAMES: &str = "amber angel art bill bob candy chance chase cliff daisy dale dawn dean drew faith frank gene glen grace grant guy \
                          hazel heather hope hunter iris ivy jack jade jasmine joy lance lily mark mason miles nick olive pat pearl penny ray rich rob \
                          robin rose ruby rusty sandy sue victor violet wade ward";

pub(super) static NAME: LazyLock<HashSet<&str>> = LazyLock::new(|| ALSO_NAMES.split_whitespace().collect());
pub(super) static FUNCTION: LazyLock<HashSet<&str>> = LazyLock::new(|| FUNCTION_WORDS.split_whitespace().collect());
pub(super) static TALK: LazyLock<HashSet<&str>> = LazyLock::new(|| TALK_WORDS.split_whitespace().collect());
pub(super) static DAY: LazyLock<HashSet<&str>> = LazyLock::new(|| DAYS.split_whitespace().collect());

/// Whether a word carries content of its own.
pub(super) fn has_content(word: &str) -> bool {
    word.chars().count() > 2 && !FUNCTION.contains(word)
}

/// Whether most words in small letters are English, so that "someone" fits.
pub(super) fn is_english(found: &[TextWord]) -> bool {
    let small: Vec<_> = found.iter().filter(|word| !word.capital).collect();
    let english =
        small.iter().filter(|word| COMMON_WORDS.contains(word.text.as_str()) || FUNCTION.contains(word.text.as_str()));
    2 * english.count() > small.len()
}
