//! The natives behind `js/html.js`: a page is an object of ours, its nodes are numbers.

#![expect(clippy::needless_pass_by_value, reason = "QuickJS hands natives their arguments by value")]

use super::document::{Document, Id, Kind};
use super::parse::parse;
use super::selector::Selector;
use crate::engine::throw;
use crate::values::function;
use rquickjs::class::{JsClass, Readable, Trace, Tracer};
use rquickjs::function::Constructor;
use rquickjs::{Class, Ctx, JsLifetime, Object, Result};
use std::collections::BTreeSet;

/// A longer text is not parsed.
const MAX_BYTES: usize = 64 << 20;

pub(crate) struct Page(Document);

impl<'js> Trace<'js> for Page {
    fn trace<'a>(&self, _tracer: Tracer<'a, 'js>) {}
}

// SAFETY: it holds no JavaScript value.
#[expect(unsafe_code, reason = "a class needs it, and the derive wants a macro crate")]
unsafe impl<'js> JsLifetime<'js> for Page {
    type Changed<'to> = Self;
}

impl<'js> JsClass<'js> for Page {
    const NAME: &'static str = "Page";
    type Mutable = Readable;

    fn prototype(_ctx: &Ctx<'js>) -> Result<Option<Object<'js>>> {
        Ok(None)
    }

    fn constructor(_ctx: &Ctx<'js>) -> Result<Option<Constructor<'js>>> {
        Ok(None)
    }
}

type Of<'js> = Class<'js, Page>;

pub(crate) fn install<'js>(ctx: &Ctx<'js>, group: &Object<'js>) -> Result<()> {
    function(ctx, group, "parse", parse_page)?;
    function(ctx, group, "find", find)?;
    function(ctx, group, "filter", filter)?;
    function(ctx, group, "name", |page: Of<'js>, id: Id| name(&page.borrow().0, id))?;
    function(ctx, group, "type", |page: Of<'js>, id: Id| node_type(&page.borrow().0, id))?;
    function(ctx, group, "value", |page: Of<'js>, id: Id| value(&page.borrow().0, id))?;
    function(ctx, group, "attributes", attributes)?;
    function(ctx, group, "attribute", |page: Of<'js>, id: Id, name: String| {
        page.borrow().0.attribute(id, &name.to_ascii_lowercase()).map(str::to_owned)
    })?;
    function(ctx, group, "text", |page: Of<'js>, id: Id| {
        let mut out = String::new();
        page.borrow().0.text(id, &mut out);
        out
    })?;
    function(ctx, group, "inner", |page: Of<'js>, id: Id| page.borrow().0.inner(id))?;
    function(ctx, group, "outer", |page: Of<'js>, id: Id| {
        let mut out = String::new();
        page.borrow().0.render(id, &mut out);
        out
    })?;
    function(ctx, group, "parent", |page: Of<'js>, id: Id| page.borrow().0.parent(id))?;
    function(ctx, group, "nodes", |page: Of<'js>, id: Id| page.borrow().0.children(id).to_vec())?;
    function(ctx, group, "elements", |page: Of<'js>, id: Id| {
        page.borrow().0.elements(id).collect::<Vec<Id>>()
    })?;
    function(ctx, group, "resolve", |base: String, url: String| crate::http::resolve(&base, &url))
}

fn parse_page<'js>(ctx: Ctx<'js>, text: String) -> Result<Class<'js, Page>> {
    if text.len() > MAX_BYTES {
        return Err(throw(&ctx, &format!("a page of more than {MAX_BYTES} bytes is not parsed")));
    }
    Class::instance(ctx, Page(parse(&text)))
}

fn read(ctx: &Ctx<'_>, selector: &str) -> Result<Selector> {
    Selector::parse(selector).map_err(|why| throw(ctx, &why))
}

/// What matches below any of these, in the order of the page.
fn find<'js>(ctx: Ctx<'js>, page: Of<'js>, ids: Vec<Id>, selector: String) -> Result<Vec<Id>> {
    let selector = read(&ctx, &selector)?;
    let page = page.borrow();
    let document = &page.0;
    let mut found = BTreeSet::new();
    for id in ids {
        found.extend(document.descendants(id).filter(|below| selector.matches(document, *below)));
    }
    Ok(found.into_iter().collect())
}

/// Those of these that match.
fn filter<'js>(ctx: Ctx<'js>, page: Of<'js>, ids: Vec<Id>, selector: String) -> Result<Vec<Id>> {
    let selector = read(&ctx, &selector)?;
    let page = page.borrow();
    Ok(ids.into_iter().filter(|id| selector.matches(&page.0, *id)).collect())
}

fn attributes(page: Of<'_>, id: Id) -> Vec<Vec<String>> {
    let page = page.borrow();
    page.0.attributes(id).iter().map(|(name, value)| vec![name.to_string(), value.to_string()]).collect()
}

fn name(document: &Document, id: Id) -> String {
    match document.get(id).map(|node| &node.kind) {
        Some(Kind::Element { name, .. }) => name.to_string(),
        Some(Kind::Text(_)) => "#text".to_owned(),
        Some(Kind::Comment(_)) => "#comment".to_owned(),
        Some(Kind::Document) | None => "#document".to_owned(),
    }
}

/// The DOM's numbers.
fn node_type(document: &Document, id: Id) -> u32 {
    match document.get(id).map(|node| &node.kind) {
        Some(Kind::Element { .. }) => 1,
        Some(Kind::Text(_)) => 3,
        Some(Kind::Comment(_)) => 8,
        Some(Kind::Document) | None => 9,
    }
}

fn value(document: &Document, id: Id) -> Option<String> {
    match document.get(id).map(|node| &node.kind) {
        Some(Kind::Text(text)) => Some(text.clone()),
        Some(Kind::Comment(text)) => Some(text.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::document::ROOT;
    use super::*;

    #[test]
    fn nodes_have_the_names_of_the_dom() {
        let document = parse("<p>a<!--b--></p>");
        let all: Vec<(String, u32)> =
            document.descendants(ROOT).map(|id| (name(&document, id), node_type(&document, id))).collect();
        let expected = [("html", 1), ("head", 1), ("body", 1), ("p", 1), ("#text", 3), ("#comment", 8)];
        assert_eq!(all, expected.map(|(name, kind)| (name.to_owned(), kind)));
    }
}
