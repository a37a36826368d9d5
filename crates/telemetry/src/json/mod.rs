//! JSON read in one pass, without a tree in between: objects hand each field to a [`Record`] as it comes, scalars are
//! taken in any spelling. What is of another shape than expected is passed over, as the senders' dialects demand.

mod composite;
mod id;
mod scalar;

pub(crate) use composite::{OtlpText, Values};
pub(crate) use id::{Id, hex_number};
pub(crate) use scalar::{Scalar, text};

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

/// Takes the fields of one object after another.
pub(crate) trait Record<'de> {
    /// An object begins.
    fn begin(&mut self) {}

    /// Reads the value of a field; it must be read, [`skip`] for one of no interest.
    ///
    /// # Errors
    /// The input is broken.
    fn field<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error>;

    /// The object ended; `whole` is false where the input broke off within it.
    fn end(&mut self, _whole: bool) {}
}

/// Passes over a value.
///
/// # Errors
/// The input is broken.
pub(crate) fn skip<'de, A: MapAccess<'de>>(map: &mut A) -> Result<(), A::Error> {
    map.next_value::<IgnoredAny>().map(drop)
}

/// A name of a field, borrowed where it holds no escapes.
struct Name<'de>(Cow<'de, str>);

impl<'de> Deserialize<'de> for Name<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read<'de>(PhantomData<&'de ()>);
        impl<'de> Visitor<'de> for Read<'de> {
            type Value = Name<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a field's name")
            }
            fn visit_borrowed_str<E: Error>(self, name: &'de str) -> Result<Name<'de>, E> {
                Ok(Name(Cow::Borrowed(name)))
            }
            fn visit_str<E: Error>(self, name: &str) -> Result<Name<'de>, E> {
                Ok(Name(Cow::Owned(name.to_owned())))
            }
        }
        deserializer.deserialize_str(Read(PhantomData))
    }
}

/// Reads one object into a record; a value of another kind is passed over.
pub(crate) struct One<'a, T>(pub(crate) &'a mut T);

/// Reads a list of objects into a record, one after another; a single object counts as a list of one.
pub(crate) struct Many<'a, T>(pub(crate) &'a mut T);

impl<'de, T: Record<'de>> DeserializeSeed<'de> for One<'_, T> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, T: Record<'de>> DeserializeSeed<'de> for Many<'_, T> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

/// The scalars of a JSON value, which records and lists pass over.
macro_rules! pass_over_scalars {
    () => {
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object or a list")
        }
        fn visit_unit<E: Error>(self) -> Result<(), E> {
            Ok(())
        }
        fn visit_bool<E: Error>(self, _: bool) -> Result<(), E> {
            Ok(())
        }
        fn visit_i64<E: Error>(self, _: i64) -> Result<(), E> {
            Ok(())
        }
        fn visit_u64<E: Error>(self, _: u64) -> Result<(), E> {
            Ok(())
        }
        fn visit_f64<E: Error>(self, _: f64) -> Result<(), E> {
            Ok(())
        }
        fn visit_str<E: Error>(self, _: &str) -> Result<(), E> {
            Ok(())
        }
    };
}

impl<'de, T: Record<'de>> Visitor<'de> for One<'_, T> {
    type Value = ();
    pass_over_scalars!();

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        self.0.begin();
        let read = fields(self.0, &mut map);
        self.0.end(read.is_ok());
        read
    }
}

impl<'de, T: Record<'de>> Visitor<'de> for Many<'_, T> {
    type Value = ();
    pass_over_scalars!();

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while list.next_element_seed(One(&mut *self.0))?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<(), A::Error> {
        One(self.0).visit_map(map)
    }
}

#[inline]
fn fields<'de, A: MapAccess<'de>, T: Record<'de>>(record: &mut T, map: &mut A) -> Result<(), A::Error> {
    while let Some(Name(name)) = map.next_key::<Name<'de>>()? {
        record.field(&name, map)?;
    }
    Ok(())
}

pub(crate) use pass_over_scalars;
