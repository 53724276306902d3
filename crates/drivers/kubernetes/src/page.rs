//! One page of a list, read object by object: an object takes many times the room of its text, and a page has hundreds.

use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

/// What a page says beside its objects.
#[derive(Debug, Default)]
pub(crate) struct Page {
    /// The version of the collection.
    pub version: String,
    /// Where the next page begins; empty at the last.
    pub next: String,
}

impl Page {
    /// Reads a page and hands over each of its objects; `None` where the text is no list.
    pub fn read(text: &[u8], mut each: impl FnMut(Value)) -> Option<Page> {
        let mut json = serde_json::Deserializer::from_slice(text);
        let page = Whole(&mut each).deserialize(&mut json).ok()?;
        json.end().ok()?;
        page
    }
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Metadata {
    resource_version: String,
    r#continue: String,
}

struct Whole<'a, F>(&'a mut F);

impl<'de, F: FnMut(Value)> DeserializeSeed<'de> for Whole<'_, F> {
    type Value = Option<Page>;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Option<Page>, D::Error> {
        from.deserialize_map(self)
    }
}

impl<'de, F: FnMut(Value)> Visitor<'de> for Whole<'_, F> {
    type Value = Option<Page>;

    fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("a list of objects")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Option<Page>, A::Error> {
        let (mut metadata, mut kind, mut items) = (Metadata::default(), String::new(), None);
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "metadata" => metadata = map.next_value()?,
                "kind" => kind = map.next_value()?,
                "items" => items = Some(map.next_value_seed(Items(&mut *self.0))?),
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        // An empty list of metadata has `null` for its items, and says by its kind that it is a list.
        let is_list = items.is_some_and(|there| there || kind.ends_with("List"));
        Ok(is_list.then_some(Page { version: metadata.resource_version, next: metadata.r#continue }))
    }
}

/// Gives whether there is a sequence.
struct Items<'a, F>(&'a mut F);

impl<'de, F: FnMut(Value)> DeserializeSeed<'de> for Items<'_, F> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<bool, D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de, F: FnMut(Value)> Visitor<'de> for Items<'_, F> {
    type Value = bool;

    fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("objects, or null")
    }

    fn visit_unit<E>(self) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<bool, A::Error> {
        while let Some(object) = items.next_element()? {
            (self.0)(object);
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Option<(String, String, Vec<String>)> {
        let mut names = Vec::new();
        let page = Page::read(text.as_bytes(), |object| names.push(object["metadata"]["name"].as_str().unwrap_or("-").to_owned()))?;
        Some((page.version, page.next, names))
    }

    #[test]
    fn a_page_gives_its_objects_its_version_and_where_the_next_begins() {
        let page = r#"{ "kind": "ConfigMapList", "apiVersion": "v1", "metadata": { "resourceVersion": "7", "continue": "there", "remainingItemCount": 2 },
            "items": [{ "metadata": { "name": "one" } }, { "metadata": { "name": "two" } }] }"#;
        let found = |version: &str, next: &str, names: &[&str]| {
            Some((version.to_owned(), next.to_owned(), names.iter().map(|name| (*name).to_owned()).collect()))
        };
        assert_eq!(read(page), found("7", "there", &["one", "two"]));
        assert_eq!(read(r#"{ "items": [], "metadata": { "resourceVersion": "7" } }"#), found("7", "", &[]));
        assert_eq!(read(r#"{ "kind": "PartialObjectMetadataList", "metadata": {}, "items": null }"#), found("", "", &[]));
    }

    #[test]
    fn half_a_page_and_what_is_no_list_is_nothing() {
        assert_eq!(read(r#"{ "kind": "Status", "metadata": {}, "message": "no" }"#), None);
        assert_eq!(read(r#"{ "kind": "Status", "items": null }"#), None);
        assert_eq!(read(r#"{ "kind": "List", "items": {} }"#), None);
        assert_eq!(read(r#"{ "kind": "List", "items": [{ "metadata": { "name": "one" } }, { "metad"#), None);
        assert_eq!(read(r#"{ "kind": "List", "items": [] } and more"#), None);
        assert_eq!(read("[]"), None);
    }
}
