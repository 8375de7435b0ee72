//! `[page]`: the web page, who sees it without its token, and its address for others.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};

use serde::{Deserialize, Serialize};

/// What Home Assistant takes as the link of a device.
const SCHEMES: [&str; 3] = ["http", "https", "homeassistant"];

/// The web page, and the metrics beside it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PageConfig {
    /// The address it listens on; none switches the page off.
    #[serde(deserialize_with = "super::addresses::address")]
    pub(crate) listen: Option<SocketAddr>,
    /// Its address in a browser of the house, for the link in Home Assistant. It holds no token.
    pub(crate) url: Option<String>,
    /// Addresses that need no token, such as the one of a proxy that asks who somebody is.
    pub(crate) trusted: Vec<IpAddr>,
}

impl PageConfig {
    /// Its address in a browser of the house: the one that is configured, else the one it listens on. None where no other machine
    /// reaches it.
    pub(crate) fn address(&self) -> Option<String> {
        if self.url.is_some() {
            return self.url.clone();
        }
        let listen = self.listen.filter(|listen| !listen.ip().is_loopback())?;
        let ip = if listen.ip().is_unspecified() { own_address()? } else { listen.ip() };
        Some(format!("http://{}/", SocketAddr::new(ip, listen.port())))
    }

    /// The key and what is wrong with it.
    pub(super) fn problems(&self) -> Vec<(String, String)> {
        let mut problems = Vec::new();
        if let Some(url) = self.url.as_ref().filter(|url| !is_link(url)) {
            let told = format!(
                "\"{url}\" is no address of a page: write it as \"http://hearth.local:8787/\", or with https:// or homeassistant://"
            );
            problems.push(("page.url".into(), told));
        }
        if self.listen.is_none() && !self.trusted.is_empty() {
            problems.push(("page.trusted".into(), "there is no page without [page] listen".into()));
        }
        problems
    }
}

/// Whether Home Assistant takes it as a link. A user with a password in it would be there for everybody to read.
fn is_link(url: &str) -> bool {
    let Some((scheme, rest)) = url.split_once("://") else { return false };
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let odd = |c: char| c.is_whitespace() || c.is_control();
    SCHEMES.contains(&scheme) && !host.is_empty() && !host.starts_with(':') && !host.contains('@') && !url.contains(odd)
}

/// The address under which the network knows this machine: the one it would send from. Nothing is sent.
fn own_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    // An address that no machine has (RFC 5737): the way to it is the way out of the house.
    socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9)).ok()?;
    socket.local_addr().ok().map(|address| address.ip()).filter(|ip| !ip.is_loopback() && !ip.is_unspecified())
}

#[cfg(test)]
mod tests {
    use crate::config::from_text;

    #[test]
    fn the_link_is_the_configured_address_else_the_one_it_listens_on_if_others_reach_it() {
        let address = |page: &str| from_text(&format!("[page]\n{page}")).unwrap().page.address();
        assert_eq!(address(""), None);
        assert_eq!(address("listen = \"127.0.0.1:8787\""), None);
        assert_eq!(address("listen = \"192.0.2.7:8787\"").as_deref(), Some("http://192.0.2.7:8787/"));
        assert_eq!(address("listen = \"[2001:db8::7]:8787\"").as_deref(), Some("http://[2001:db8::7]:8787/"));
        let ingress = "homeassistant://hassio/ingress/local_hearth";
        assert_eq!(address(&format!("listen = \"0.0.0.0:8787\"\nurl = \"{ingress}\"")).as_deref(), Some(ingress));
        let any = address("listen = \"0.0.0.0:8787\"");
        assert!(any.is_none_or(|link| link.ends_with(":8787/") && !link.contains("//0.0.0.0")));
    }

    #[test]
    fn a_link_that_home_assistant_would_refuse_and_trust_without_a_page_are_told() {
        for wrong in [
            "hearth.local:8787",
            "ftp://hearth.local/",
            "http:///",
            "http://:80/",
            "http://me:secret@hearth/",
            "http://hearth local/",
            "",
        ] {
            let [problem] = &from_text(&format!("[page]\nurl = \"{wrong}\"")).unwrap_err()[..] else {
                panic!("{wrong}")
            };
            assert_eq!(problem.line, 2, "{problem}");
            assert!(problem.message.contains("is no address of a page: write it as"), "{problem}");
        }
        let [problem] = &from_text("[page]\ntrusted = [\"192.0.2.7\"]").unwrap_err()[..] else { panic!() };
        assert_eq!(problem.message, "there is no page without [page] listen");
    }
}
