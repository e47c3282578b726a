//! What the registry and those who ask it are made of. Neither of the two modules has a clock of its
//! own: whoever calls says what time it is, and a test lets it pass as it likes.

pub mod instances;
pub mod leases;

use std::collections::BTreeSet;
use std::net::SocketAddr;

use anyhow::{Context, ensure};
use reqwest::Response;

/// A name is as long as a label of DNS may be.
const NAME: usize = 63;
/// An address is never longer in text.
const ADDRESS: usize = 58;
/// A list is never longer in bytes: whoever reads one need not read on.
pub const LONGEST_LIST: usize = leases::INSTANCES * (NAME + ADDRESS + 2);

/// An instance of a service, as the registry lists it: a line with its name and its address.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Listed {
    /// Its name, which no other instance of the service has.
    pub name: String,
    /// Where it takes requests.
    pub address: SocketAddr,
}

/// Writes a list, a line for each instance.
#[must_use]
pub fn to_text(list: &[Listed]) -> String {
    let lines = list.iter();
    let lines = lines.map(|Listed { name, address }| format!("{name} {address}\n"));
    lines.collect()
}

/// Reads a list. Whoever is on it twice is there once.
///
/// # Errors
///
/// With the line that is none of a list.
pub fn from_text(text: &str) -> Result<BTreeSet<Listed>, String> {
    let lines = text.lines().map(|line| {
        let (name, address) = line.split_once(' ').ok_or(line)?;
        let name = is_name(name).then(|| name.to_owned()).ok_or(line)?;
        let address = address.parse().map_err(|_| line)?;
        Ok(Listed { name, address })
    });
    let list = lines.collect::<Result<_, &str>>();
    list.map_err(|line| format!("`{line}` is no line of a list"))
}

/// Whether it can be a word in a list: letters, digits, `-` and `.`.
fn is_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.';
    (1..=NAME).contains(&name.len()) && name.bytes().all(plain)
}

/// Reads what the registry answers. Whatever it is that answers there, it fills no memory.
///
/// # Errors
///
/// If it breaks off, is no text, or is longer than this.
pub async fn text_of(mut answer: Response, longest: usize) -> anyhow::Result<String> {
    let mut text = Vec::new();
    while let Some(piece) = answer.chunk().await? {
        text.extend_from_slice(&piece);
        let length = text.len();
        ensure!(
            length <= longest,
            "the answer is longer than {longest} bytes"
        );
    }
    String::from_utf8(text).context("the answer is no text")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_read_as_it_is_written() {
        let text = "a 10.0.0.1:8080\nb [fe80::1%3]:1\n";
        let list = Vec::from_iter(from_text(text).unwrap());
        assert_eq!(list.len(), 2);
        assert_eq!(to_text(&list), text);
        let twice = from_text("a 10.0.0.1:8080\na 10.0.0.1:8080\n").unwrap();
        assert_eq!(twice.len(), 1);
        for line in [
            "<html>",
            "a 10.0.0.1",
            " 10.0.0.1:1",
            "\u{1b}[2J 10.0.0.1:1",
        ] {
            let refused = from_text(&format!("{text}{line}\n")).unwrap_err();
            assert_eq!(refused, format!("`{line}` is no line of a list"));
        }
    }

    #[test]
    fn no_address_is_longer() {
        let address = "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff%4294967295]:65535";
        let longest: SocketAddr = address.parse().unwrap();
        assert_eq!(longest.to_string().len(), ADDRESS);
    }
}
