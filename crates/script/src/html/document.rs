//! A page as a tree of nodes in one list; a node is its index, and the order of the list is that of the page.

use std::fmt::Write;

/// Index of a node.
pub(super) type Id = u32;

pub(super) const ROOT: Id = 0;

#[derive(Debug)]
pub(super) enum Kind {
    Document,
    Element { name: Box<str>, attributes: Vec<(Box<str>, Box<str>)> },
    Text(String),
    Comment(Box<str>),
}

#[derive(Debug)]
pub(super) struct Node {
    pub(super) kind: Kind,
    pub(super) parent: Id,
    pub(super) children: Vec<Id>,
    /// Elements among the children.
    elements: u32,
    /// Of an element: which one of its parent's, from 1.
    place: u32,
}

#[derive(Debug)]
pub(super) struct Document {
    nodes: Vec<Node>,
}

/// Elements without content.
const VOID: &[&str] = &[
    "area", "base", "br", "col", "embed", "hr", "img", "input", "keygen", "link", "meta", "param", "source",
    "track", "wbr",
];
/// Elements whose content is text as it stands.
const RAW: &[&str] = &["iframe", "noembed", "noframes", "plaintext", "script", "style", "xmp"];

pub(super) fn is_void(name: &str) -> bool {
    VOID.contains(&name)
}

pub(super) fn is_raw(name: &str) -> bool {
    RAW.contains(&name)
}

impl Document {
    pub(super) fn new() -> Self {
        Self {
            nodes: vec![Node {
                kind: Kind::Document,
                parent: ROOT,
                children: Vec::new(),
                elements: 0,
                place: 0,
            }],
        }
    }

    pub(super) fn len(&self) -> usize {
        self.nodes.len()
    }

    pub(super) fn add(&mut self, parent: Id, kind: Kind) -> Id {
        let id = Id::try_from(self.nodes.len()).unwrap_or(Id::MAX);
        let mut place = 0;
        if let Some(parent) = self.nodes.get_mut(parent as usize) {
            parent.children.push(id);
            parent.elements += u32::from(matches!(kind, Kind::Element { .. }));
            place = parent.elements;
        }
        self.nodes.push(Node { kind, parent, children: Vec::new(), elements: 0, place });
        id
    }

    pub(super) fn get(&self, id: Id) -> Option<&Node> {
        self.nodes.get(id as usize)
    }

    pub(super) fn get_mut(&mut self, id: Id) -> Option<&mut Node> {
        self.nodes.get_mut(id as usize)
    }

    /// `None` for the document itself.
    pub(super) fn parent(&self, id: Id) -> Option<Id> {
        (id != ROOT).then(|| self.get(id).map(|node| node.parent)).flatten()
    }

    pub(super) fn children(&self, id: Id) -> &[Id] {
        self.get(id).map_or(&[], |node| &node.children)
    }

    /// The name of an element.
    pub(super) fn name(&self, id: Id) -> Option<&str> {
        match &self.get(id)?.kind {
            Kind::Element { name, .. } => Some(name),
            _ => None,
        }
    }

    pub(super) fn attributes(&self, id: Id) -> &[(Box<str>, Box<str>)] {
        match self.get(id).map(|node| &node.kind) {
            Some(Kind::Element { attributes, .. }) => attributes,
            _ => &[],
        }
    }

    pub(super) fn attribute(&self, id: Id, name: &str) -> Option<&str> {
        self.attributes(id).iter().find(|(known, _)| **known == *name).map(|(_, value)| &**value)
    }

    /// Which element of its parent's it is, and of how many.
    pub(super) fn place(&self, id: Id) -> (u32, u32) {
        let place = self.get(id).map_or(0, |node| node.place);
        let of = self.parent(id).and_then(|up| self.get(up)).map_or(place, |up| up.elements);
        (place, of)
    }

    /// Child elements.
    pub(super) fn elements(&self, id: Id) -> impl DoubleEndedIterator<Item = Id> {
        self.children(id).iter().copied().filter(|child| self.name(*child).is_some())
    }

    /// All below a node, in the order of the page.
    pub(super) fn descendants(&self, id: Id) -> Descendants<'_> {
        Descendants { document: self, stack: self.children(id).iter().rev().copied().collect() }
    }

    /// All text below a node, or its own.
    pub(super) fn text(&self, id: Id, out: &mut String) {
        if let Some(Kind::Text(text)) = self.get(id).map(|node| &node.kind) {
            out.push_str(text);
        }
        for one in self.descendants(id) {
            if let Some(Kind::Text(text)) = self.get(one).map(|node| &node.kind) {
                out.push_str(text);
            }
        }
    }

    /// What is inside, as HTML.
    pub(super) fn inner(&self, id: Id) -> String {
        let mut out = String::new();
        for child in self.children(id) {
            self.render(*child, &mut out);
        }
        out
    }

    /// A node as HTML. Depth is bounded by the parser.
    pub(super) fn render(&self, id: Id, out: &mut String) {
        let Some(node) = self.get(id) else { return };
        match &node.kind {
            Kind::Document => out.push_str(&self.inner(id)),
            Kind::Comment(text) => {
                let _written = write!(out, "<!--{text}-->");
            }
            Kind::Text(text) if self.parent(id).and_then(|up| self.name(up)).is_some_and(is_raw) => {
                out.push_str(text);
            }
            Kind::Text(text) => escape(text, out),
            Kind::Element { name, attributes } => {
                let _written = write!(out, "<{name}");
                for (name, value) in attributes {
                    let _written = write!(out, " {name}=\"");
                    escape(value, out);
                    out.push('"');
                }
                if is_void(name) {
                    out.push_str("/>");
                    return;
                }
                out.push('>');
                for child in &node.children {
                    self.render(*child, out);
                }
                let _written = write!(out, "</{name}>");
            }
        }
    }
}

fn escape(text: &str, out: &mut String) {
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&#34;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
}

pub(super) struct Descendants<'a> {
    document: &'a Document,
    stack: Vec<Id>,
}

impl Iterator for Descendants<'_> {
    type Item = Id;

    fn next(&mut self) -> Option<Id> {
        let next = self.stack.pop()?;
        self.stack.extend(self.document.children(next).iter().rev());
        Some(next)
    }
}
