//! Lists and objects of JSON in a request, of at most so many elements, whose values stay text until they are
//! asked for: a text of a few MiB could otherwise make lists of many times its size.

use crate::error::ApiError;
use crate::excerpt::excerpt;
use crate::parameters::MAX_VALUE;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;

/// Most fields of an object.
pub(crate) const MAX_FIELDS: usize = 64;

/// A list of at most `MOST` elements.
#[derive(Debug)]
pub(crate) struct List<T, const MOST: usize>(Vec<T>);

impl<T, const MOST: usize> Deref for List<T, MOST> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<'de, T: Deserialize<'de>, const MOST: usize> Deserialize<'de> for List<T, MOST> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Elements<T, const MOST: usize>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>, const MOST: usize> Visitor<'de> for Elements<T, MOST> {
            type Value = List<T, MOST>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
                let mut elements = Vec::new();
                while let Some(element) = list.next_element()? {
                    if elements.len() == MOST {
                        return Err(A::Error::custom(format!(
                            "the list has more than {MOST} elements"
                        )));
                    }
                    elements.push(element);
                }
                Ok(List(elements))
            }
        }

        deserializer.deserialize_seq(Elements(PhantomData))
    }
}

/// The fields of an object, by name, in the order of the text; null counts as an object without fields.
#[derive(Debug, Default)]
pub(crate) struct Fields<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'a> Deref for Fields<'a> {
    type Target = [(Cow<'a, str>, &'a RawValue)];

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl<'a> Fields<'a> {
    /// The value of a field, the last one of this name; `None`: there is none, or it is null.
    ///
    /// # Errors
    /// [`ApiError::BadRequest`]: it is of another type.
    pub(crate) fn get<T: Deserialize<'a>>(&self, name: &str) -> Result<Option<T>, ApiError> {
        let Some((_, value)) = self.iter().rfind(|(field, _)| field == name) else {
            return Ok(None);
        };
        serde_json::from_str(value.get()).map_err(|error| {
            ApiError::BadRequest(format!("{name}: {}", excerpt(&error.to_string())))
        })
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Fields<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;

        impl<'de> Visitor<'de> for Object {
            type Value = Fields<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_unit<E: Error>(self) -> Result<Fields<'de>, E> {
                Ok(Fields::default())
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields<'de>, A::Error> {
                let mut fields = Vec::new();
                while let Some((name, value)) = map.next_entry()? {
                    if fields.len() == MAX_FIELDS {
                        return Err(A::Error::custom(format!("more than {MAX_FIELDS} fields")));
                    }
                    fields.push((name_of(name).map_err(A::Error::custom)?, value));
                }
                Ok(Fields(fields))
            }
        }

        // Null counts as absent.
        deserializer.deserialize_any(Object)
    }
}

/// The text of a field's name. One that has escapes and is longer than any that is known stays as it is written.
fn name_of(written: &RawValue) -> serde_json::Result<Cow<'_, str>> {
    let written = written.get();
    if written.contains('\\') && written.len() <= MAX_VALUE {
        return serde_json::from_str(written).map(Cow::Owned);
    }
    Ok(Cow::Borrowed(&written[1..written.len() - 1]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_and_objects_are_bounded() {
        assert_eq!(serde_json::from_str::<List<u64, 3>>("[1, 2, 3]").unwrap()[2], 3);
        assert!(serde_json::from_str::<List<u64, 3>>("[1, 2, 3, 4]").is_err());
        let object = |count: usize| {
            let fields: Vec<String> = (0..count).map(|n| format!("\"{n}\": [{n}]")).collect();
            format!("{{{}}}", fields.join(","))
        };
        let text = object(MAX_FIELDS);
        let fields: Fields<'_> = serde_json::from_str(&text).unwrap();
        assert_eq!(fields.get::<[u64; 1]>("7").unwrap(), Some([7]));
        assert!(fields.get::<bool>("7").is_err() && fields.get::<bool>("x").unwrap().is_none());
        assert!(serde_json::from_str::<Fields<'_>>(&object(MAX_FIELDS + 1)).is_err());
        assert_eq!(serde_json::from_str::<Fields<'_>>("null").unwrap().iter().count(), 0);
        let escaped: Fields<'_> = serde_json::from_str(r#"{"\u0061": true}"#).unwrap();
        assert_eq!(escaped.get("a").unwrap(), Some(true));
        let twice: Fields<'_> = serde_json::from_str(r#"{"a": 1, "a": 2}"#).unwrap();
        assert_eq!(twice.get("a").unwrap(), Some(2));
    }
}
