//! Bytes that are nearly always text: lines that containers print, files of a ConfigMap.

use serde::{Deserialize, Serialize};

/// Bytes that are nearly always text.
///
/// In JSON, a value that is UTF-8 is a string, and any other an array of numbers: nothing is
/// lost, and what people look at is readable.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Form", into = "Form")]
pub struct ByteString(pub Vec<u8>);

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Form {
    Text(String),
    Bytes(Vec<u8>),
}

impl From<Form> for ByteString {
    fn from(form: Form) -> Self {
        match form {
            Form::Text(text) => Self(text.into_bytes()),
            Form::Bytes(bytes) => Self(bytes),
        }
    }
}

impl From<ByteString> for Form {
    fn from(bytes: ByteString) -> Self {
        String::from_utf8(bytes.0).map_or_else(|error| Self::Bytes(error.into_bytes()), Self::Text)
    }
}

impl ByteString {
    /// The bytes as text; what is not UTF-8 is shown as `\xNN`, so that two different values
    /// never look the same.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        for chunk in self.0.utf8_chunks() {
            text.push_str(chunk.valid());
            for byte in chunk.invalid() {
                text.push_str(&format!("\\x{byte:02x}"));
            }
        }
        text
    }
}

impl From<&str> for ByteString {
    fn from(text: &str) -> Self {
        Self(text.as_bytes().to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_keeps_every_byte() {
        for bytes in [
            &b"Hello"[..],
            b"",
            b"\xff\x00 mixed \xc3\xa9",
            "é".as_bytes(),
        ] {
            let before = ByteString(bytes.to_vec());
            let json = serde_json::to_string(&before).unwrap();
            assert_eq!(
                serde_json::from_str::<ByteString>(&json).unwrap(),
                before,
                "{json}"
            );
        }
        assert_eq!(ByteString(b"a\xffb".to_vec()).text(), "a\\xffb");
    }
}
