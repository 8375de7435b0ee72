//! Names of rooms where not every character may stand: in a path, in a topic.
//!
//! Owns the two directions. Invariant: different names stay different, and what was made safe reads as it was.

/// The name with every character but letters, digits, `-` and `_` as the `%` and two hexadecimal digits of each of its bytes.
pub(crate) fn encode(name: &str) -> String {
    let mut safe = String::new();
    for char in name.chars() {
        if char.is_alphanumeric() || "-_".contains(char) {
            safe.push(char);
        } else {
            char.encode_utf8(&mut [0; 4]).bytes().for_each(|byte| safe += &format!("%{byte:02X}"));
        }
    }
    safe
}

/// The name that was made safe; none if it is not such a one.
pub(crate) fn decode(safe_name: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = safe_name.bytes();
    while let Some(byte) = rest.next() {
        let digit = |byte: u8| char::from(byte).to_digit(16);
        bytes.push(match byte {
            b'%' => u8::try_from(16 * digit(rest.next()?)? + digit(rest.next()?)?).ok()?,
            byte => byte,
        });
    }
    String::from_utf8(bytes).ok().filter(|name| encode(name) == safe_name)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_name_stays_below_its_directory_and_its_topic() {
        assert_eq!(encode("living room"), "living%20room");
        assert_eq!(encode("гостиная"), "гостиная");
        assert_eq!(encode("../a/+#%"), "%2E%2E%2Fa%2F%2B%23%25");
        assert_eq!((decode("a%2"), decode("a.b"), decode("%ff")), (None, None, None));
    }

    proptest! {
        #[test]
        fn a_safe_name_reads_as_it_was(name in "\\PC{0,64}") {
            prop_assert_eq!(decode(&encode(&name)), Some(name));
        }
    }
}
