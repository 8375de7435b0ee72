//! The addresses that hearth listens on, and a sentence for one that is written wrongly.

use std::fmt;
use std::marker::PhantomData;
use std::net::{IpAddr, SocketAddr};

use serde::Deserializer;
use serde::de::{Error, Visitor};

use super::{Broker, Config};

impl Config {
    /// Every address that this config lets hearth listen on: the embedded broker's, the page's and that of network microphones.
    pub(crate) fn listen_addresses(&self) -> Vec<SocketAddr> {
        let broker = (self.mqtt.url == Broker::Embedded).then_some(self.mqtt.listen);
        let microphones = self.source.wyoming.as_ref().map(|wyoming| wyoming.listen);
        [broker, self.page.listen, microphones].into_iter().flatten().collect()
    }
}

/// Reads an address with a port.
pub(super) fn address<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: From<SocketAddr>,
{
    struct AddressVisitor<T>(PhantomData<T>);
    impl<T: From<SocketAddr>> Visitor<'_> for AddressVisitor<T> {
        type Value = T;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an address with a port, such as \"127.0.0.1:8787\"")
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
            text.parse::<SocketAddr>().map(T::from).map_err(|_| E::custom(no_address(text)))
        }
    }
    deserializer.deserialize_str(AddressVisitor(PhantomData))
}

/// What `text` lacks.
fn no_address(text: &str) -> String {
    match text.parse::<IpAddr>() {
        Ok(IpAddr::V4(ip)) => format!("\"{text}\" has no port: write it as \"{ip}:8787\""),
        Ok(IpAddr::V6(ip)) => format!("\"{text}\" has no port: write it as \"[{ip}]:8787\""),
        Err(_) => match text.trim_start_matches([':', '*']).parse::<u16>() {
            Ok(port) => format!(
                "\"{text}\" is only a port: write \"127.0.0.1:{port}\" for this machine alone, or \"0.0.0.0:{port}\" for the network, too"
            ),
            Err(_) => format!(
                "\"{text}\" is no address to listen on: write an IP address of this machine and a port, such as \"127.0.0.1:8787\""
            ),
        },
    }
}
