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

/// Unsigned integer: a whole number from 0, however JSON writes it (`3.0` is 3). One beyond 64 bits counts as the
/// largest of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Whole(pub(crate) u64);

impl<'de> Deserialize<'de> for Whole {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Number;

        impl Visitor<'_> for Number {
            type Value = Whole;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a whole number from 0")
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<Whole, E> {
                Ok(Whole(number))
            }

            fn visit_f64<E: Error>(self, number: f64) -> Result<Whole, E> {
                // `as` makes the largest number of what is larger.
                if number.fract() == 0.0 && number >= 0.0 {
                    return Ok(Whole(number as u64));
                }
                Err(E::custom("it is not a whole number from 0"))
            }
        }

        deserializer.deserialize_u64(Number)
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
    fn a_whole_number_may_be_written_with_a_fraction_of_zero() {
        for text in ["3", "3.0", "3e0"] {
            assert_eq!(serde_json::from_str::<Whole>(text).unwrap(), Whole(3));
        }
        for text in ["1e300", "18446744073709551616"] {
            assert_eq!(serde_json::from_str::<Whole>(text).unwrap(), Whole(u64::MAX));
        }
        for text in ["3.5", "-1", "-1.0", "1e400", "true", "\"3\"", "null"] {
            assert!(serde_json::from_str::<Whole>(text).is_err(), "{text}");
        }
    }

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
