//! Lists and objects of a request, of at most so many elements: a text of a few MiB could otherwise
//! make lists of many times its size.

use crate::error::ApiError;
use crate::excerpt::excerpt;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;

/// Most fields of an object of parameters.
const MAX_FIELDS: usize = 64;

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
                        return Err(A::Error::custom(format!("more than {MOST} elements")));
                    }
                    elements.push(element);
                }
                Ok(List(elements))
            }
        }

        deserializer.deserialize_seq(Elements(PhantomData))
    }
}

/// The fields of an object, whose values are read when they are asked for.
#[derive(Debug, Default)]
pub(crate) struct Fields<'a>(Vec<(String, &'a RawValue)>);

impl<'a> Fields<'a> {
    /// All of them, by name, as they are written.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &'a str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.get()))
    }

    /// The value of a field; `None`: there is none of this name, or it is null.
    ///
    /// # Errors
    /// [`ApiError::BadRequest`]: it is of another type.
    pub(crate) fn get<T: Deserialize<'a>>(&self, name: &str) -> Result<Option<T>, ApiError> {
        let Some((_, value)) = self.0.iter().find(|(field, _)| field == name) else {
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
                while let Some(field) = map.next_entry()? {
                    if fields.len() == MAX_FIELDS {
                        return Err(A::Error::custom(format!("more than {MAX_FIELDS} fields")));
                    }
                    fields.push(field);
                }
                Ok(Fields(fields))
            }
        }

        // Null counts as absent.
        deserializer.deserialize_any(Object)
    }
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
    }
}
