//! Percent-encoding of room names in file names and topics.
//!
//! Letters and digits of every script stay as they are, so that names stay readable; the crate `percent-encoding` would encode all of them
//! but ASCII. Different names stay different, and decoding gives the name back.

/// Encodes every character but letters, digits, `-` and `_`: each of its bytes becomes `%` and two hexadecimal digits.
pub(crate) fn encode(name: &str) -> String {
    let mut encoded = String::new();
    for char in name.chars() {
        if char.is_alphanumeric() || "-_".contains(char) {
            encoded.push(char);
        } else {
            char.encode_utf8(&mut [0; 4]).bytes().for_each(|byte| encoded += &format!("%{byte:02X}"));
        }
    }
    encoded
}

/// The name that was encoded; none if [`encode`] does not give such a text.
pub(crate) fn decode(encoded: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = encoded.bytes();
    while let Some(byte) = rest.next() {
        let digit = |byte: u8| char::from(byte).to_digit(16);
        bytes.push(match byte {
            b'%' => u8::try_from(16 * digit(rest.next()?)? + digit(rest.next()?)?).ok()?,
            byte => byte,
        });
    }
    String::from_utf8(bytes).ok().filter(|name| encode(name) == encoded)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_encoded_name_cannot_leave_its_directory_or_topic() {
        assert_eq!(encode("living room"), "living%20room");
        assert_eq!(encode("гостиная"), "гостиная");
        assert_eq!(encode("../a/+#%"), "%2E%2E%2Fa%2F%2B%23%25");
        assert_eq!((decode("a%2"), decode("a.b"), decode("%ff")), (None, None, None));
    }

    proptest! {
        #[test]
        fn decoding_gives_the_name_back(name in "\\PC{0,64}") {
            prop_assert_eq!(decode(&encode(&name)), Some(name));
        }
    }
}
