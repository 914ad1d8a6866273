//! API keys: a file of names and hashes. The keys themselves are random, so that one round of SHA-256
//! suffices.

use actix_web::http::header::{AUTHORIZATION, HeaderMap, HeaderName};
use anyhow::{Context, bail, ensure};
use sha2::{Digest, Sha256};
use std::path::Path;
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};

pub(crate) const API_KEY: HeaderName = HeaderName::from_static("x-api-key");
/// Longest key that is looked at.
const MAX_KEY: usize = 256;

/// The SHA-256 of a key.
#[derive(Debug, Clone, Copy)]
pub(crate) struct KeyHash([u8; 32]);

impl KeyHash {
    /// That of this key.
    pub(crate) fn of(key: &str) -> KeyHash {
        KeyHash(Sha256::digest(key).into())
    }

    fn parse(text: &str) -> Option<KeyHash> {
        let mut hash = [0; 32];
        if text.len() != 2 * hash.len() || !text.is_ascii() {
            return None;
        }
        for (byte, index) in hash.iter_mut().zip((0..).step_by(2)) {
            *byte = u8::from_str_radix(&text[index..index + 2], 16).ok()?;
        }
        Some(KeyHash(hash))
    }

    /// Whether it is that of this key; takes the same time for each.
    pub(crate) fn matches(&self, key: &str) -> bool {
        self.equals(&KeyHash::of(key)).into()
    }

    fn equals(&self, other: &KeyHash) -> Choice {
        self.0.ct_eq(&other.0)
    }
}

/// The keys that are valid, by name.
#[derive(Debug)]
pub(crate) struct ApiKeys(Vec<(String, KeyHash)>);

impl ApiKeys {
    /// Reads a file with one key a line: its name, a colon, and its SHA-256 in hexadecimal digits.
    ///
    /// # Errors
    /// If it cannot be read, is malformed, or has no key.
    pub(crate) fn read(path: &Path) -> anyhow::Result<ApiKeys> {
        let named = || format!("API_KEYS_FILE={}", path.display());
        let text = std::fs::read_to_string(path).with_context(named)?;
        ApiKeys::parse(&text).with_context(named)
    }

    fn parse(text: &str) -> anyhow::Result<ApiKeys> {
        let mut keys: Vec<(String, KeyHash)> = Vec::new();
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            // The line is not shown: somebody may have written the key itself.
            let parsed = line.split_once(':').and_then(|(name, hash)| {
                Some((name.trim(), KeyHash::parse(hash.trim())?))
                    .filter(|(name, _)| !name.is_empty())
            });
            let Some((name, hash)) = parsed else {
                bail!("line {number} is not NAME:HASH, the SHA-256 of the key in 64 digits");
            };
            ensure!(
                keys.iter().all(|(other, _)| other != name),
                "line {number}: {name} is a name twice"
            );
            keys.push((name.to_owned(), hash));
        }
        ensure!(!keys.is_empty(), "it has no key");
        Ok(ApiKeys(keys))
    }

    /// The name of a key. Takes the same time whether and where it is found.
    pub(crate) fn name_of(&self, key: &str) -> Option<&str> {
        let given = KeyHash::of(key);
        let mut found = u32::MAX;
        for (index, (_, hash)) in (0..).zip(&self.0) {
            found.conditional_assign(&index, hash.equals(&given));
        }
        self.0.get(found as usize).map(|(name, _)| name.as_str())
    }
}

/// The key that a request is sent with: `Authorization: Bearer KEY`, or `X-API-Key: KEY`.
pub(crate) fn given_key(headers: &HeaderMap) -> Option<&str> {
    let text = |name: &HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let bearer = text(&AUTHORIZATION).and_then(|value| {
        let (scheme, key) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then_some(key.trim())
    });
    bearer.or_else(|| text(&API_KEY)).filter(|key| !key.is_empty() && key.len() <= MAX_KEY)
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::http::header::HeaderValue;

    /// `printf secret | sha256sum`
    const SECRET: &str = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b";

    #[test]
    fn a_key_is_known_by_its_hash() {
        let text =
            format!("# keys\n\n clinic : {}\nlab:{}\n", SECRET.to_uppercase(), "0".repeat(64));
        let keys = ApiKeys::parse(&text).unwrap();
        assert_eq!(keys.name_of("secret"), Some("clinic"));
        for wrong in ["", "Secret", "secret ", SECRET] {
            assert_eq!(keys.name_of(wrong), None, "{wrong}");
        }
        assert!(KeyHash::of("secret").matches("secret") && !KeyHash::of("secret").matches("other"));
    }

    #[test]
    fn a_malformed_file_is_an_error_that_does_not_show_it() {
        let twice = format!("a:{SECRET}\na:{SECRET}");
        for text in ["", "# none", "clinic", "clinic:secret", ":", &format!(":{SECRET}"), &twice] {
            let error = ApiKeys::parse(text).unwrap_err().to_string();
            assert!(!error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn a_key_is_sent_in_either_header() {
        let with = |name: HeaderName, value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(name, HeaderValue::from_static(value));
            given_key(&headers).map(str::to_owned)
        };
        assert_eq!(with(AUTHORIZATION, "Bearer abc").as_deref(), Some("abc"));
        assert_eq!(with(AUTHORIZATION, "bearer  abc").as_deref(), Some("abc"));
        assert_eq!(with(API_KEY, "abc").as_deref(), Some("abc"));
        assert_eq!(with(AUTHORIZATION, "Basic abc"), None);
        assert_eq!(with(API_KEY, ""), None);
    }
}
