//! Origins of addresses (RFC 6454) and the targets of redirects.

use ureq::http::Uri;

/// Scheme, host and port (RFC 6454). A token belongs to one origin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Origin {
    pub(crate) scheme: String,
    pub(crate) host: String,
    pub(crate) port: u16,
}

impl Origin {
    /// The origin of a web address; none for other addresses.
    pub(crate) fn of(uri: &Uri) -> Option<Self> {
        let scheme = uri.scheme_str()?.to_ascii_lowercase();
        let usual = match scheme.as_str() {
            "https" => 443,
            "http" => 80,
            _ => return None,
        };
        let host = uri.host().filter(|host| !host.is_empty())?.to_ascii_lowercase();
        Some(Self { scheme, host, port: uri.port_u16().unwrap_or(usual) })
    }

    /// Whether it is this machine.
    pub(crate) fn is_this_machine(&self) -> bool {
        let address = self.host.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
        self.host == "localhost" || address.is_ok_and(|address| address.is_loopback())
    }

    /// The address that a `Location` header means here.
    pub(crate) fn join(&self, location: &str) -> Option<String> {
        let Self { scheme, host, port } = self;
        match location {
            _ if location.contains("://") => Some(location.into()),
            _ if location.starts_with("//") => Some(format!("{scheme}:{location}")),
            _ if location.starts_with('/') => Some(format!("{scheme}://{host}:{port}{location}")),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_port_or_scheme_is_another_origin() {
        let origin = |uri: &str| Origin::of(&uri.parse().unwrap()).unwrap();
        assert_eq!(origin("https://Huggingface.co/a"), origin("https://huggingface.co:443/b"));
        assert_ne!(origin("https://huggingface.co"), origin("http://huggingface.co"));
        assert_ne!(origin("http://localhost:1"), origin("http://localhost:2"));
        assert_eq!(origin("https://h:1/a").join("/b").unwrap(), "https://h:1/b");
        assert_eq!(origin("https://h/a").join("//cdn/b").unwrap(), "https://cdn/b");
        assert_eq!(origin("https://h/a").join("http://cdn/b").unwrap(), "http://cdn/b");
        assert_eq!(origin("https://h/a").join(""), None);
    }
}
