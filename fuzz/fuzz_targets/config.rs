//! Any bytes as a config: it is read, or every problem has a line and column inside of it.

#![no_main]

use hearth::config::from_text;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    match from_text(text) {
        Ok(config) => assert_eq!(config.validate(), [], "what is taken is valid"),
        Err(problems) => {
            assert!(!problems.is_empty());
            let lines = text.matches('\n').count() + 1;
            for problem in problems {
                assert!((1..=lines).contains(&problem.line) && problem.column >= 1, "{problem} is outside");
                assert!(!problem.message.is_empty());
            }
        }
    }
});
