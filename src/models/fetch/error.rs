//! Errors of fetching a model, with what to do about them.

use std::io;
use std::path::PathBuf;

use super::catalog;

#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    #[error("there is no model named {name:?} to fetch; did you mean {nearest}? `hearth models fetch` lists the names")]
    Unknown { name: String, nearest: String },
    #[error("{endpoint:?} is no address of a hub; write it as https://host or http://host:port")]
    Endpoint { endpoint: String },
    #[error("a token would go to {endpoint} readable by everyone on the way; use https, or leave the token out")]
    Unprotected { endpoint: String },
    #[error("{origin} is no access token: a token is one word; make one at {}/settings/tokens", catalog::HUB)]
    NoToken { origin: String },
    #[error("this system has no root certificates to know the hub by; install the package ca-certificates")]
    NoCertificates,
    #[error(
        "{repo} is given only to those who accepted its license. Accept it at {}, make a token that may read it at \
         {}/settings/tokens, and put the token into HF_TOKEN or into a file named with --token-file",
        catalog::page(repo),
        catalog::HUB
    )]
    Gated { repo: String },
    #[error(
        "the hub knows the token, but does not give its owner {repo}: accept the license at {} with the account that the \
         token belongs to, and let the token read gated repositories",
        catalog::page(repo)
    )]
    NotAccepted { repo: String },
    #[error(
        "the hub does not take the token: it is mistyped, expired or revoked. Make another at {}/settings/tokens",
        catalog::HUB
    )]
    BadToken,
    #[error("{repo} has no {file}; it may have been renamed or taken away")]
    NotFound { repo: String, file: String },
    #[error("cannot reach {host}; check the network, or name a mirror with --endpoint")]
    Unreachable { host: String, source: Box<ureq::Error> },
    #[error("{host} is busy (HTTP {status}); try again later")]
    Busy { host: String, status: u16 },
    #[error("{host} refuses {file} (HTTP {status}{})", if reason.is_empty() { String::new() } else { format!(", {reason}") })]
    Refused { host: String, file: String, status: u16, reason: String },
    #[error("{host} answers for {file} as no hub does: {what}; is the endpoint right?")]
    Odd { host: String, file: String, what: String },
    #[error("{file} of {repo} is not as it should be: {reason}")]
    BadIndex { repo: String, file: &'static str, reason: String },
    #[error(
        "the connection broke at {done} of {size} bytes of {file}; the same command continues from there once the network is back"
    )]
    Broken { file: String, done: u64, size: u64, source: Option<io::Error> },
    #[error(
        "{file} did not arrive as the hub says it is: hash {found} instead of {expected}. It was removed; fetch it again, \
         and if that does not help, do not trust the endpoint"
    )]
    Mismatch { file: String, expected: String, found: String },
    #[error(
        "{file} is longer than the {size} bytes that the hub says it has. It was removed; do not trust the endpoint"
    )]
    TooLong { file: String, size: u64 },
    #[error(
        "{path} has no space: {needed} more bytes are needed and {free} are free; free some space, or name another folder with --to"
    )]
    NoRoom { path: PathBuf, needed: u64, free: u64 },
    #[error("the disk with {path} is full; free some space and run the same command again: it continues from there")]
    Full { path: PathBuf, source: io::Error },
    #[error("{path} is being fetched already; wait for it, or stop the other hearth")]
    Locked { path: PathBuf },
    #[error("cannot write {path}")]
    Write { path: PathBuf, source: io::Error },
    #[error("cannot read {path}")]
    Read { path: PathBuf, source: io::Error },
}

impl FetchError {
    /// Whether trying again soon may help.
    pub(crate) fn is_passing(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Busy { .. } | Self::Broken { .. })
    }

    /// A write that failed.
    pub(super) fn write(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        |source| match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full { path, source },
            _ => Self::Write { path, source },
        }
    }

    pub(super) fn read(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        |source| Self::Read { path, source }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_distinguished_from_other_failures() {
        let told = |code| FetchError::write("/m/x.part")(io::Error::from_raw_os_error(code)).to_string();
        assert!(told(28).starts_with("the disk with /m/x.part is full"), "{}", told(28));
        assert_eq!(told(13), "cannot write /m/x.part");
    }
}
