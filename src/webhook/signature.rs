//! The signature of a request, as Standard Webhooks describes it (<https://www.standardwebhooks.com>): HMAC-SHA256 of
//! `id.timestamp.body`, in base64 after `v1,`. Libraries for it are there in many languages, and ten lines do without one.

use std::fmt;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

use super::WebhookError;

/// What a secret begins with that is the base64 of its bytes; any other is taken as it is.
const ENCODED: &str = "whsec_";

/// The secret that hearth shares with a receiver. It is never printed.
#[derive(Clone)]
pub(super) struct WebhookSecret(Vec<u8>);

impl fmt::Debug for WebhookSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WebhookSecret")
    }
}

impl WebhookSecret {
    /// The secret in a file; none where the file is empty, as the one that systemd makes where nobody wrote one.
    ///
    /// # Errors
    /// The file cannot be read, or holds no secret. No error quotes it.
    pub(super) fn read(path: &Path) -> Result<Option<Self>, WebhookError> {
        let text =
            std::fs::read_to_string(path).map_err(|source| WebhookError::SecretFile { path: path.into(), source })?;
        // Some editors put a byte-order mark before the text.
        match text.trim_start_matches('\u{feff}').trim_end_matches(['\r', '\n']) {
            "" => Ok(None),
            text => Self::parse(text).map(Some).ok_or_else(|| WebhookError::NoSecret { path: path.into() }),
        }
    }

    fn parse(text: &str) -> Option<Self> {
        match text.strip_prefix(ENCODED) {
            Some(encoded) => STANDARD.decode(encoded).ok().filter(|bytes| !bytes.is_empty()).map(Self),
            None => Some(Self(text.into())),
        }
    }

    /// The value of the header `webhook-signature`.
    pub(super) fn sign(&self, id: &str, timestamp: i64, body: &str) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("a key of any length will do");
        mac.update(format!("{id}.{timestamp}.{body}").as_bytes());
        format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
    }
}

/// The id of a message: the same for each attempt, also after a crash, and another for each other message. The phases of an alert share the
/// `id` within the body, so it is made of all of the body.
pub(super) fn message_id(body: &str) -> String {
    format!("msg_{}", hex::encode(&Sha256::digest(body)[..16]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_that_of_the_standard() {
        // The example of <https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>.
        let secret = WebhookSecret::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let signature = secret.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, r#"{"test": 2432232314}"#);
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn a_secret_is_text_or_base64_and_an_empty_file_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        let read = |text: &str| {
            std::fs::write(&path, text).unwrap();
            WebhookSecret::read(&path).map(|secret| secret.map(|secret| secret.0))
        };
        assert_eq!(read("open sesame\n").unwrap(), Some(b"open sesame".to_vec()));
        assert_eq!(read("whsec_AAEC\r\n").unwrap(), Some(vec![0, 1, 2]));
        assert_eq!(read("\n").unwrap(), None);
        let wrong = read("whsec_hidden!").unwrap_err().to_string();
        assert!(wrong.contains("base64") && !wrong.contains("hidden"), "{wrong}");
        assert!(WebhookSecret::read(&dir.path().join("none")).unwrap_err().to_string().contains("secret_file"));
    }
}
