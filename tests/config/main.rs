//! A broken config is told of whole: every problem with its line and column.

use hearth::config::{self, Config};

fn problems(text: &str) -> Vec<String> {
    config::from_text(text).expect_err("the config is broken").iter().map(ToString::to_string).collect()
}

#[test]
fn the_documented_config_is_the_default() {
    let documented = config::from_text(include_str!("../../config/hearth.toml")).expect("config/hearth.toml is valid");
    assert_eq!(documented, Config::default());
    assert_eq!(config::from_text("").expect("an empty file is valid"), Config::default());
}

#[test]
fn every_setting_is_in_the_documented_config() {
    let text = include_str!("../../config/hearth.toml");
    let mut config = serde_json::to_value(Config::default()).expect("a config is a value");
    // Optional settings and the other sources are not part of the default; they stand there as comments.
    config["source"]["file"] = serde_json::json!({ "path": "", "pace": "", "room": "" });
    config["source"]["mqtt"] = serde_json::json!({ "topics": [], "window_s": 0 });
    config["webhook"] = serde_json::json!({ "name": "", "url": "", "events": [], "secret_file": "" });
    config["source"]["stdin"] = serde_json::json!({ "rate": 0, "channels": 0, "room": "" });
    config["source"]["wyoming"] = serde_json::json!({ "listen": "", "room": "", "rooms": "" });
    fn walk(value: &serde_json::Value, text: &str) {
        if let Some(items) = value.as_array() {
            items.iter().for_each(|v| walk(v, text));
        }
        for (key, value) in value.as_object().into_iter().flatten() {
            let named = text.lines().map(|l| l.trim_start_matches(['#', ' '])).any(|line| {
                line.starts_with(&format!("{key} = ")) || line.starts_with('[') && line.contains(key.as_str())
            });
            assert!(named, "config/hearth.toml does not document \"{key}\"");
            walk(value, text);
        }
    }
    walk(&config, text);
}

#[test]
fn an_unknown_kind_of_watcher_is_refused_with_the_kinds_there_are() {
    let rule = |more: &str| format!("[[rule]]\nname = \"smoke\"\n{more}");
    assert_eq!(
        problems(&rule("question = \"Is there smoke?\"\nwatch = \"smoke\"\n")),
        [
            "line 4, column 9: unknown value \"smoke\": known here are help, fire, leak, intruder, door, delivery, medicine, left_on"
        ]
    );
    let error = problems(&rule("pattern = \"smoke\"\nwatch = \"fire\"\n")).join("\n");
    assert!(
        error.contains("rule \"smoke\" has \"watch\" and no question") && error.contains("Add a question"),
        "{error}"
    );
    let error = problems(&rule("pattern = \"smoke\"\ntrigger = \"fire\"\n")).join("\n");
    assert!(error.contains("write its words as pattern"), "{error}");
    let error = problems(&rule("question = \"Is there smoke?\"\ntrigger = \"(\"\n")).join("\n");
    assert!(error.contains("line 4, column 11: the trigger of rule \"smoke\" is no regular expression"), "{error}");
}

#[test]
fn all_problems_are_reported_at_once_with_line_and_column() {
    let text = "\
node = \"the living room\"
[digest]
every_minutes = 5
min_words = \"many\"
[mqtt]
url = \"http://broker\"
[[rule]]
name = \"fire\"
question = \"Is there a fire?\"
enter = 1.5
";
    assert_eq!(
        problems(text),
        [
            "line 1, column 8: \"the living room\" is no name: use 1 to 64 of a to z, A to Z, 0 to 9, \"_\" and \"-\"",
            "line 3, column 1: unknown key \"every_minutes\": did you mean \"every_min\"?",
            "line 4, column 13: a whole number that is not negative is expected here, not the text \"many\"",
            "line 6, column 7: \"http://broker\" is not \"embedded\", \"mqtt://host:port\" or \"mqtts://host:port\"",
            "line 10, column 9: 1.5 is no probability between 0 and 1",
        ]
    );
}

#[test]
fn of_two_files_the_config_counts_where_both_have_a_setting_and_each_mistake_is_in_its_file() {
    let dir = tempfile::tempdir().unwrap();
    let (own, defaults) = (dir.path().join("own/hearth.toml"), dir.path().join("defaults.toml"));
    std::fs::create_dir(dir.path().join("own")).unwrap();
    let read = |text: &str, beneath: &str| {
        std::fs::write(&own, text).unwrap();
        std::fs::write(&defaults, beneath).unwrap();
        config::load_over(&own, &defaults)
    };
    let beneath = "node = \"attic\"\n[source.microphone]\ndevice = \"a\"\n[asr]\nlanguage = \"de\"\nthreads = 2\n\
        [[rule]]\nname = \"bell\"\npattern = \"ding\"\n[[rule]]\nname = \"dog\"\npattern = \"woof\"";
    let alone = read("", beneath).unwrap();
    assert_eq!(Config { file: None, defaults: None, base: "".into(), ..alone.clone() }, {
        Config { base: "".into(), ..config::from_text(beneath).unwrap() }
    });
    assert_eq!((alone.base.as_path(), alone.file.as_ref(), alone.defaults.as_ref()), {
        (own.parent().unwrap(), Some(&own), Some(&defaults))
    });

    let text =
        "asr.threads = 3\n[[source.microphone]]\nroom = \"hall\"\n[[rule]]\nname = \"cat\"\npattern = \"meow\"\n";
    let both = read(text, beneath).unwrap();
    assert_eq!((both.node.as_str(), both.asr.language.as_str(), both.asr.threads), ("attic", "de", 3));
    let rooms: Vec<_> = both.sources().into_iter().map(|(room, _)| room).collect();
    let rules: Vec<_> = both.rules.iter().map(|rule| rule.name.as_str()).collect();
    assert_eq!((rooms, rules), (vec!["hall".to_owned()], vec!["cat"]), "a list is taken whole");

    let told = |text: &str, beneath: &str| {
        let error = read(text, beneath).expect_err("there is a mistake").to_string();
        error.replace(&*own.to_string_lossy(), "own").replace(&*defaults.to_string_lossy(), "defaults")
    };
    let unknown = |key: &str| format!("unknown key \"{key}\": did you mean \"language\"?");
    assert_eq!(
        told("[asr]\nlangage = \"en\"\nthreads = \"x\"\n", "# ä\n[asr]\nlanguagee = \"en\"\nthreads = true\n"),
        format!(
            "defaults:3:1: {}\nown:2:1: {}\nown:3:11: a whole number that is not negative is expected here, not the text \"x\"",
            unknown("languagee"),
            unknown("langage")
        )
    );
    // A mistake in what both say together is where the second half of it stands.
    let rule = "[[rule]]\nname = \"bell\"\n";
    assert_eq!(told(rule, beneath), "own:2:8: rule \"bell\" has neither a pattern nor a question: it could never fire");
    assert_eq!(told("", rule), "defaults:2:8: rule \"bell\" has neither a pattern nor a question: it could never fire");
    let syntax = told("[asr\n", "node = \n");
    assert!(syntax.starts_with("defaults:1:") && syntax.contains("\nown:1:"), "{syntax}");
    assert!(told("", "[mqtt]\ninterim = true").starts_with("defaults:2:11: "));
}

#[test]
fn sources_are_written_once_or_several_times_and_each_has_its_room() {
    let rooms = |text: &str| {
        let sources = config::from_text(text).unwrap().sources();
        sources.into_iter().map(|(room, source)| format!("{room} {}", source.kind())).collect::<Vec<_>>()
    };
    assert_eq!(rooms("node = \"attic\""), ["attic microphone"]);
    let several = "\
[[source.microphone]]
device = \"hw:1\"
room = \"kitchen\"
[[source.microphone]]
room = \"hall\"
[source.stdin]
";
    assert_eq!(rooms(several), ["kitchen microphone", "hall microphone", "home stdin"]);
}

#[test]
fn invalid_sources_are_reported_with_their_place() {
    for (text, told) in [
        (
            "[source]\n",
            "line 1, column 1: names no source: use [source.microphone], [source.file], [source.stdin], [source.wyoming] or \
             [source.mqtt]",
        ),
        (
            "[source]\nkind = \"file\"\n",
            "line 2, column 1: unknown key \"kind\": known here are microphone, file, stdin, wyoming, mqtt",
        ),
        (
            "[source.microphone]\n[source.stdin]\nroom = \"home\"\n",
            "line 3, column 8: a second source hears the room \"home\": give each a room of its own",
        ),
        (
            "[[source.microphone]]\n[[source.microphone]]\nrooom = \"hall\"\n",
            "line 3, column 1: unknown key \"rooom\": did you mean \"room\"?",
        ),
        (
            "[source.mqtt]\ntopics = [\"hearth/#/utterance\"]\n",
            "line 2, column 10: \"hearth/#/utterance\" is no topic to listen to: \"+\" and \"#\" stand alone between slashes, \"#\" at the end, at most 256 bytes",
        ),
        (
            "[[source.file]]\npath = \"a\"\npace = \"fast\"\n[[source.file]]\npath = \"\"\nroom = \"hall\"\n",
            "line 5, column 8: names no file",
        ),
    ] {
        assert!(problems(text).contains(&told.to_owned()), "{:?}", problems(text));
    }
    let forgetful = problems("[source.mqtt]\n");
    assert!(forgetful.len() == 1 && forgetful[0].contains("the embedded broker forgets"), "{forgetful:?}");
}

#[test]
fn checks_of_several_keys_point_at_the_key() {
    let text = "\
[[rule]]
name = \"a\"
pattern = \"(unclosed\"
[[rule]]
name = \"a\"
question = \"Is it?\"
enter = 0.5
exit = 0.6
[[rule]]
name = \"b\"
[mqtt]
listen = \"0.0.0.0:1883\"
[source.stdin]
rate = 44
";
    let found = problems(text);
    let expected = [
        ("line 3, column 11: ", "is no regular expression"),
        ("line 5, column 8: ", "a second rule is named \"a\""),
        ("line 8, column 8: ", "exit must lie below enter (0.5); it is 0.6"),
        ("line 10, column 8: ", "neither a pattern nor a question"),
        ("line 12, column 10: ", "can be reached from other machines"),
        ("line 14, column 8: ", "44 is outside 8000 to 192000 Hz"),
    ];
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for (found, (place, words)) in found.iter().zip(expected) {
        assert!(found.starts_with(place) && found.contains(words), "{found:?} should be {place:?} … {words:?}");
    }
}

#[test]
fn text_that_is_not_toml_is_refused_with_its_place() {
    let found = problems("node = \"home\"\n[digest\nevery_min = 5\n");
    assert!(found[0].starts_with("line 2, column "), "{found:?}");
}

#[test]
fn a_missing_key_is_reported() {
    let found = problems("[source.file]\npace = \"fast\"\n[store]\nkeep = \"a while\"\n");
    assert!(found[0].starts_with("line 1, column ") && found[0].contains("path"), "{found:?}");
    assert!(found[1].starts_with("line 4, column 8: \"a while\" is not \"nothing\""), "{found:?}");
}

#[test]
fn urls_are_parsed() {
    let url = |url: &str| config::from_text(&format!("[mqtt]\nurl = \"{url}\"")).map(|c| c.mqtt.url.to_string());
    assert_eq!(url("mqtt://broker").unwrap(), "mqtt://broker:1883");
    assert_eq!(url("mqtts://broker.local").unwrap(), "mqtts://broker.local:8883");
    assert_eq!(url("mqtt://[fd00::1]:1884").unwrap(), "mqtt://[fd00::1]:1884");
    assert!(url("mqtt://me:secret@broker").unwrap_err()[0].message.contains("username and password_file"));
    assert!(url("mqtt://").is_err() && url("mqtt://broker:99999").is_err());
}

/// The one problem of a text, without its place.
fn message(text: &str) -> String {
    let mut found = config::from_text(text).expect_err("the config is broken");
    assert_eq!(found.len(), 1, "{found:?}");
    found.remove(0).message
}

#[test]
fn languages_that_may_be_detected_are_checked() {
    let auto =
        |languages: &str| message(&format!("[source.microphone]\n[asr]\nlanguage = \"auto\"\nlanguages = {languages}"));
    assert!(auto("[]").contains("no language is allowed") && auto("[]").contains("remove the key"));
    assert!(auto("[\"en\", \"English\"]").contains("\"English\" is no language code"));
    let fixed = message("[source.microphone]\n[asr]\nlanguage = \"en\"\nlanguages = [\"en\"]");
    assert!(fixed.contains("set language = \"auto\""), "{fixed}");
    let fine = "[source.microphone]\n[asr]\nlanguage = \"auto\"\nlanguages = [\"en\", \"de\"]";
    assert!(config::from_text(fine).is_ok());
}

#[test]
fn a_value_of_another_kind_is_told_what_is_expected() {
    for (text, told) in [
        ("[privacy]\nredact = \"Emma\"", "a list in brackets ([\"Emma\"]) is expected here, not the text \"Emma\""),
        ("[privacy]\nredact = 5", "a list in brackets is expected here, not 5"),
        ("[privacy]\nredact_numbers = \"yes\"", "true or false is expected here, not the text \"yes\""),
        ("[asr]\nlanguage = false", "text in quotes is expected here, not false"),
        ("[asr]\nthreads = -1", "a whole number that is not negative is expected here, not -1"),
        ("[store]\noutbox_max_mib = 1.5", "a whole number from 0 to 4294967295 is expected here, not 1.5"),
        ("[digest]\nquiet_min = \"3\"", "a number is expected here, not the text \"3\""),
        ("digest = 5", "a table is expected here, not 5"),
        (
            "[source.wyoming]\nrooms = { kitchen = \"kitchen\" }",
            "an IP address is expected here, such as \"192.168.1.20\"",
        ),
    ] {
        assert_eq!(message(text), told, "{text}");
    }
}

#[test]
fn an_address_that_is_none_is_told_how_to_write_it() {
    for (table, value, told) in [
        ("page", "\"8080\"", "write \"127.0.0.1:8080\" for this machine alone, or \"0.0.0.0:8080\" for the network"),
        ("page", "\":8080\"", "write \"127.0.0.1:8080\""),
        ("page", "\"192.168.1.5\"", "has no port: write it as \"192.168.1.5:8787\""),
        ("page", "\"::1\"", "has no port: write it as \"[::1]:8787\""),
        ("page", "\"localhost:8787\"", "\"localhost:8787\" is no address to listen on: write an IP address"),
        ("page", "true", "an address with a port, such as \"127.0.0.1:8787\" is expected here, not true"),
        ("mqtt", "\"1883\"", "write \"127.0.0.1:1883\""),
        ("source.wyoming", "\"10700\"", "write \"127.0.0.1:10700\""),
    ] {
        let message = message(&format!("[{table}]\nlisten = {value}\n"));
        assert!(message.contains(told), "{table} {value}: {message}");
    }
    let page = config::from_text("[page]\nlisten = \"[::1]:8787\"\n").unwrap().page;
    assert_ne!(page, Config::default().page);
}

#[test]
fn the_default_of_exit_is_named_where_it_is_too_high() {
    let text = "[[rule]]\nname = \"a\"\nquestion = \"Is it?\"\nenter = 0.3\n";
    assert_eq!(message(text), "exit must lie below enter (0.3); it is 0.4, which is the default: set a lower one");
}

#[test]
fn a_rule_with_a_bad_name_says_so_and_the_rest_is_still_checked() {
    let text = "\
[[rule]]
name = \"my rule\"
question = \"Is it on?\"
enter = 0.3
exit = 0.5
[[rule]]
question = \"Is it off?\"
cooldown_s = -1
[[rule]]
name = \"third\"
pattern = \"(\"
[[rule]]
name = 7
pattern = \"x\"
";
    let told = problems(text);
    let begins = [
        "line 2, column 8: \"my rule\" is no name: use 1 to 64 of",
        "line 5, column 8: ",
        "line 6, column 1: the key \"name\" is missing here",
        "line 8, column 14: -1 is outside 0 to 604800 seconds",
        "line 11, column 11: the pattern of rule \"third\" is no regular expression",
        "line 13, column 8: text in quotes is expected here, not 7",
    ];
    assert_eq!(told.len(), begins.len(), "{told:#?}");
    for (told, begin) in told.iter().zip(begins) {
        assert!(told.starts_with(begin), "{told} does not begin with {begin}");
    }
}

#[test]
fn a_rule_that_is_none_does_not_shift_the_others() {
    let text = "rule = [5, { name = \"a\", pattern = \"(\" }]\n";
    let told = problems(text);
    assert_eq!(told.len(), 2, "{told:#?}");
    assert!(told[0].starts_with("line 1, column 9: a table is expected here, not 5"), "{told:#?}");
    assert!(told[1].starts_with("line 1, column 36: the pattern of rule \"a\" is no regular"), "{told:#?}");
}

#[test]
fn a_value_that_is_wrong_is_told_of_once() {
    let told = problems("[source.file]\npath = 5\n");
    assert_eq!(told, ["line 2, column 8: text in quotes is expected here, not 5"]);
}

#[test]
fn days_are_written_as_people_write_them() {
    for text in ["30d", "30 d", "30 days", "30days"] {
        let config = config::from_text(&format!("[store]\nkeep = \"{text}\"\n")).expect("it is a number of days");
        assert_eq!(serde_json::to_value(config).expect("a config is a value")["store"]["keep"], "30 days", "{text}");
    }
    let told = problems("[store]\nkeep = \"a while\"\n");
    assert_eq!(
        told,
        [
            "line 2, column 8: \"a while\" is not \"nothing\", \"forever\" or a number of days from 1 to 3650, as \"30 days\" or \"30d\""
        ]
    );
    assert!(problems("[store]\nkeep = \"0d\"\n")[0].contains("1 to 3650"));
}

/// Each setting with a value of each wrong type: the error must be one for people who write no Rust.
#[test]
fn no_error_names_a_type_of_rust() {
    let rust = regex::Regex::new(
        r"\b(struct|enum|variant|identifier|[iu](8|16|32|64|size)|f32|f64|bool|boolean|integer|float|map|sequence|unit|char|str|tuple|expected a|invalid)\b|::|`",
    )
    .expect("it is a pattern");
    let mut config = serde_json::to_value(Config::default()).expect("a config is a value");
    config["source"]["file"] = serde_json::json!({ "path": "", "pace": "", "room": "" });
    config["source"]["mqtt"] = serde_json::json!({ "topics": [], "window_s": 0 });
    config["source"]["stdin"] = serde_json::json!({ "rate": 0, "channels": 0, "room": "" });
    config["source"]["wyoming"] = serde_json::json!({ "listen": "", "room": "", "rooms": {} });
    config["webhook"] = serde_json::json!([{ "name": "", "url": "", "events": [], "secret_file": "" }]);
    let quoted = regex::Regex::new("\"[^\"]*\"").expect("it is a pattern");
    let mut tried = 0;
    let mut told = std::collections::BTreeSet::new();
    let mut check = |text: String| {
        tried += 1;
        for problem in config::from_text(&text).err().into_iter().flatten() {
            // What the writer wrote is quoted.
            let unquoted = quoted.replace_all(&problem.message, "").replace("f32, q8_0", "");
            assert!(!rust.is_match(&unquoted), "{text}{}", problem.message);
            told.insert(problem.message);
        }
    };
    let wrong = ["5", "-5", "1.5", "\"x\"", "true", "[1]", "[]", "{ a = 1 }", "1979-05-27", "[\"x\", 2]"];
    for (section, settings) in config.as_object().expect("a config is a table") {
        for value in wrong {
            check(format!("{section} = {value}\n"));
            let settings = match settings {
                serde_json::Value::Array(rules) => &rules[0],
                settings => settings,
            };
            let repeated = ["rule", "webhook"].contains(&section.as_str());
            let header = if repeated { format!("[[{section}]]") } else { format!("[{section}]") };
            for (key, inner) in settings.as_object().into_iter().flatten() {
                check(format!("{header}\n{key} = {value}\n"));
                for (key_inside, _) in inner.as_object().into_iter().flatten() {
                    check(format!("[{section}.{key}]\n{key_inside} = {value}\n"));
                }
            }
        }
    }
    assert!(tried > 600 && told.len() > 60, "{tried} values, {} errors", told.len());
}
