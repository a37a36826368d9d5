//! HTML as it is found to a tree: never fails, closes what the standard closes, makes `html`, `head`, `body` and `tbody`
//! where they are left out. It does not repair overlapping formatting, nor move what stands wrongly in a table.

use super::document::{Document, Id, Kind, ROOT, is_raw, is_void};
use super::entities::decode;

/// Deeper elements become siblings of the deepest.
const MAX_DEPTH: usize = 256;
/// What comes after so many nodes is left out.
const MAX_NODES: usize = 500_000;

/// Elements of the head, where nothing else has come yet.
const IN_HEAD: &[&str] = &["base", "link", "meta", "noscript", "script", "style", "template", "title"];

/// What an element's start ends: these, up to the nearest of those.
const ENDS: &[(&[&str], &[&str], &[&str])] = &[
    (&["li"], &["li"], &["ul", "ol", "menu"]),
    (&["dt", "dd"], &["dt", "dd"], &["dl"]),
    (&["option"], &["option"], &["select", "datalist", "optgroup"]),
    (&["optgroup"], &["option", "optgroup"], &["select"]),
    (&["td", "th"], &["td", "th"], &["tr", "table"]),
    (&["tr"], &["tr", "td", "th"], &["table", "tbody", "thead", "tfoot"]),
    (
        &["tbody", "thead", "tfoot"],
        &["tbody", "thead", "tfoot", "tr", "td", "th", "caption", "colgroup"],
        &["table"],
    ),
];
/// These end an open paragraph.
const END_PARAGRAPH: &[&str] = &[
    "address",
    "article",
    "aside",
    "blockquote",
    "details",
    "div",
    "dl",
    "fieldset",
    "figcaption",
    "figure",
    "footer",
    "form",
    "h1",
    "h2",
    "h3",
    "h4",
    "h5",
    "h6",
    "header",
    "hr",
    "main",
    "menu",
    "nav",
    "ol",
    "p",
    "pre",
    "section",
    "table",
    "ul",
    "li",
    "dt",
    "dd",
];
/// An end tag reaches no further than the nearest of these.
const WALLS: &[&str] = &["table", "td", "th", "caption", "template"];

pub(super) fn parse(text: &str) -> Document {
    let mut builder = Builder::new();
    builder.run(text);
    builder.document
}

struct Builder {
    document: Document,
    html: Id,
    head: Id,
    body: Id,
    in_body: bool,
    /// Open elements below `head` or `body`.
    open: Vec<Id>,
}

impl Builder {
    fn new() -> Self {
        let mut document = Document::new();
        let element = |name: &str| Kind::Element { name: name.into(), attributes: Vec::new() };
        let html = document.add(ROOT, element("html"));
        let head = document.add(html, element("head"));
        let body = document.add(html, element("body"));
        Self { document, html, head, body, in_body: false, open: Vec::new() }
    }

    fn run(&mut self, text: &str) {
        let mut rest = text;
        while !rest.is_empty() && self.document.len() < MAX_NODES {
            rest = match rest.find('<') {
                Some(0) => self.markup(rest),
                Some(at) => {
                    self.text(&rest[..at]);
                    &rest[at..]
                }
                None => {
                    self.text(rest);
                    ""
                }
            };
        }
    }

    /// At a `<`; returns what is left.
    fn markup<'t>(&mut self, text: &'t str) -> &'t str {
        if let Some(comment) = text.strip_prefix("<!--") {
            let (inside, rest) = comment.split_once("-->").unwrap_or((comment, ""));
            self.put(Kind::Comment(inside.into()));
            return rest;
        }
        if text.starts_with("<!") || text.starts_with("<?") {
            return text.split_once('>').map_or("", |(_, rest)| rest);
        }
        if let Some(end) = text.strip_prefix("</") {
            if end.starts_with(|c: char| c.is_ascii_alphabetic()) {
                let (tag, rest) = end.split_once('>').unwrap_or((end, ""));
                let name = tag.split(|c: char| c.is_whitespace() || c == '/').next().unwrap_or("");
                self.close(&name.to_ascii_lowercase());
                return rest;
            }
            return end.split_once('>').map_or("", |(_, rest)| rest);
        }
        if text[1..].starts_with(|c: char| c.is_ascii_alphabetic()) {
            let tag = Tag::read(&text[1..]);
            return self.start(tag);
        }
        self.text("<");
        &text[1..]
    }

    fn text(&mut self, text: &str) {
        if !self.in_body && self.open.is_empty() && text.trim_start().is_empty() {
            return;
        }
        self.put(Kind::Text(decode(text)));
    }

    /// The place of the next node.
    fn here(&mut self, name: Option<&str>) -> Id {
        if let Some(last) = self.open.last() {
            return *last;
        }
        if !self.in_body && name.is_some_and(|name| IN_HEAD.contains(&name)) {
            return self.head;
        }
        self.in_body = true;
        self.body
    }

    fn put(&mut self, kind: Kind) {
        if matches!(kind, Kind::Comment(_)) && self.open.is_empty() && !self.in_body {
            self.document.add(self.head, kind);
            return;
        }
        let here = self.here(None);
        let last = self.document.children(here).last().copied();
        if let Kind::Text(more) = &kind
            && let Some(node) = last.and_then(|last| self.document.get_mut(last))
            && let Kind::Text(text) = &mut node.kind
        {
            text.push_str(more);
            return;
        }
        self.document.add(here, kind);
    }

    /// Adds an element; returns what is left after it, or after its raw text.
    fn start<'t>(&mut self, tag: Tag<'t>) -> &'t str {
        let name = tag.name.as_str();
        match name {
            "html" => return self.merge(self.html, tag),
            "head" => return self.merge(self.head, tag),
            "body" => {
                self.in_body = true;
                return self.merge(self.body, tag);
            }
            _ => {}
        }
        self.make_room(name);
        let parent = self.here(Some(name));
        let (name, rest) = (tag.name.clone(), tag.rest);
        let id =
            self.document.add(parent, Kind::Element { name: tag.name.into(), attributes: tag.attributes });
        if is_void(&name) {
            return rest;
        }
        if is_raw(&name) || name == "textarea" || name == "title" {
            return self.raw(id, &name, rest);
        }
        if self.open.len() < MAX_DEPTH {
            self.open.push(id);
        }
        rest
    }

    fn merge<'t>(&mut self, into: Id, tag: Tag<'t>) -> &'t str {
        if let Some(node) = self.document.get_mut(into)
            && let Kind::Element { attributes, .. } = &mut node.kind
        {
            for (name, value) in tag.attributes {
                if !attributes.iter().any(|(known, _)| *known == name) {
                    attributes.push((name, value));
                }
            }
        }
        tag.rest
    }

    /// Text up to the end tag of the same name.
    fn raw<'t>(&mut self, id: Id, name: &str, text: &'t str) -> &'t str {
        let end = find_end(text, name);
        let inside = &text[..end];
        if !inside.is_empty() {
            let decoded = if is_raw(name) {
                inside.to_owned()
            } else {
                decode(if name == "textarea" { inside.strip_prefix('\n').unwrap_or(inside) } else { inside })
            };
            self.document.add(id, Kind::Text(decoded));
        }
        text[end..].split_once('>').map_or("", |(_, rest)| rest)
    }

    /// Closes what this element ends, and opens what it needs.
    fn make_room(&mut self, name: &str) {
        for (starts, ends, walls) in ENDS {
            if starts.contains(&name) {
                self.end_until(ends, walls);
            }
        }
        if END_PARAGRAPH.contains(&name) {
            let from = self.wall();
            if let Some(at) = self.open[from..].iter().rposition(|id| self.document.name(*id) == Some("p")) {
                self.open.truncate(from + at);
            }
        }
        let last = self.open.last().copied();
        let in_table = last.and_then(|id| self.document.name(id)) == Some("table");
        if in_table && matches!(name, "tr" | "td" | "th") {
            self.open_implied("tbody");
        }
        let last = self.open.last().copied();
        let in_body = matches!(last.and_then(|id| self.document.name(id)), Some("tbody" | "thead" | "tfoot"));
        if in_body && matches!(name, "td" | "th") {
            self.open_implied("tr");
        }
    }

    fn open_implied(&mut self, name: &str) {
        let parent = self.here(None);
        let id = self.document.add(parent, Kind::Element { name: name.into(), attributes: Vec::new() });
        if self.open.len() < MAX_DEPTH {
            self.open.push(id);
        }
    }

    /// Where end tags begin to reach.
    fn wall(&self) -> usize {
        let wall =
            self.open.iter().rposition(|id| self.document.name(*id).is_some_and(|n| WALLS.contains(&n)));
        wall.unwrap_or(0)
    }

    fn end_until(&mut self, ends: &[&str], walls: &[&str]) {
        let mut cut = None;
        for (at, id) in self.open.iter().enumerate().rev() {
            let name = self.document.name(*id).unwrap_or("");
            if walls.contains(&name) {
                break;
            }
            if ends.contains(&name) {
                cut = Some(at);
            }
        }
        if let Some(cut) = cut {
            self.open.truncate(cut);
        }
    }

    fn close(&mut self, name: &str) {
        match name {
            "head" => {
                self.open.clear();
                self.in_body = true;
                return;
            }
            "body" | "html" => return self.open.clear(),
            "br" => {
                self.put(Kind::Element { name: "br".into(), attributes: Vec::new() });
                return;
            }
            _ => {}
        }
        let reach = if matches!(
            name,
            "table" | "td" | "th" | "tr" | "tbody" | "thead" | "tfoot" | "caption" | "template"
        ) {
            0
        } else {
            self.wall()
        };
        if let Some(at) = self.open[reach..].iter().rposition(|id| self.document.name(*id) == Some(name)) {
            self.open.truncate(reach + at);
        }
    }
}

/// Where `</name` begins; the end where it is missing.
fn find_end(text: &str, name: &str) -> usize {
    let mut from = 0;
    while let Some(at) = text[from..].find("</") {
        let start = from + at;
        let after = &text.as_bytes()[start + 2..];
        let is_name = after.len() >= name.len() && after[..name.len()].eq_ignore_ascii_case(name.as_bytes());
        let ends = after.get(name.len()).is_none_or(|b| b.is_ascii_whitespace() || matches!(b, b'>' | b'/'));
        if is_name && ends {
            return start;
        }
        from = start + 2;
    }
    text.len()
}

/// A start tag.
struct Tag<'t> {
    name: String,
    attributes: Vec<(Box<str>, Box<str>)>,
    rest: &'t str,
}

/// Attributes of one element; more are left out.
const MAX_ATTRIBUTES: usize = 200;

impl<'t> Tag<'t> {
    /// After the `<`.
    fn read(text: &'t str) -> Self {
        let end = text.find(|c: char| c.is_ascii_whitespace() || c == '/' || c == '>').unwrap_or(text.len());
        let mut tag =
            Self { name: text[..end].to_ascii_lowercase(), attributes: Vec::new(), rest: &text[end..] };
        while tag.attribute() {}
        tag
    }

    /// Reads one attribute; false at the end of the tag.
    fn attribute(&mut self) -> bool {
        let text = self.rest.trim_start_matches(|c: char| c.is_ascii_whitespace() || c == '/');
        if text.is_empty() {
            self.rest = text;
            return false;
        }
        if let Some(rest) = text.strip_prefix('>') {
            self.rest = rest;
            return false;
        }
        // A leading `=` belongs to the name.
        let after = text
            .char_indices()
            .skip(1)
            .find(|(_, c)| c.is_ascii_whitespace() || matches!(c, '/' | '>' | '='));
        let end = after.map_or(text.len(), |(at, _)| at);
        let name = text[..end].to_ascii_lowercase();
        let rest = text[end..].trim_start();
        let (value, rest) = match rest.strip_prefix('=') {
            Some(value) => attribute_value(value.trim_start()),
            None => ("", &text[end..]),
        };
        self.rest = rest;
        if self.attributes.len() < MAX_ATTRIBUTES
            && !self.attributes.iter().any(|(known, _)| **known == *name)
        {
            self.attributes.push((name.into(), decode(value).into()));
        }
        true
    }
}

fn attribute_value(text: &str) -> (&str, &str) {
    for quote in ['"', '\''] {
        if let Some(inside) = text.strip_prefix(quote) {
            return inside.split_once(quote).unwrap_or((inside, ""));
        }
    }
    let end = text.find(|c: char| c.is_ascii_whitespace() || c == '>').unwrap_or(text.len());
    text.split_at(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        let document = parse(text);
        assert_eq!(document.inner(ROOT), format!("<html>{expected}</html>"), "{text}");
    }

    #[test]
    fn a_tree_is_made_as_browsers_make_it() {
        check("", "<head></head><body></body>");
        check("<title>A &amp; B</title><p>x", "<head><title>A &amp; B</title></head><body><p>x</p></body>");
        check("<ul><li>1<li>2</ul>3", "<head></head><body><ul><li>1</li><li>2</li></ul>3</body>");
        check("<p>1<p>2<div>3</div>", "<head></head><body><p>1</p><p>2</p><div>3</div></body>");
        check(
            "<table><tr><td>1<td>2<tr><td>3</table>",
            "<head></head><body><table><tbody><tr><td>1</td><td>2</td></tr><tr><td>3</td></tr></tbody></table></body>",
        );
        check(
            "<head><script>if (a < b && '</p>') {}</script></head><body class=x>y",
            "<head><script>if (a < b && '</p>') {}</script></head><body class=\"x\">y</body>",
        );
        check(
            "<INPUT NAME=a value='1 2' checked><br></i>",
            "<head></head><body><input name=\"a\" value=\"1 2\" checked=\"\"/><br/></body>",
        );
        check(
            "<select><option>a<option selected>b</select>",
            "<head></head><body><select><option>a</option><option selected=\"\">b</option></select></body>",
        );
        check("a < b <3 <", "<head></head><body>a &lt; b &lt;3 &lt;</body>");
        check("<a href=/x?a=1&b=2>l</a>", "<head></head><body><a href=\"/x?a=1&amp;b=2\">l</a></body>");
        check("<textarea>\n<b></textarea>", "<head></head><body><textarea>&lt;b&gt;</textarea></body>");
    }

    #[test]
    fn depth_is_bounded() {
        let document = parse(&"<div>".repeat(100_000));
        let mut out = String::new();
        document.render(ROOT, &mut out);
        assert_eq!(out.matches("<div>").count(), 100_000);
    }

    /// Seeds of the fuzzer: anything is read to its end.
    #[test]
    fn any_text_is_read() {
        use rand::{Rng, SeedableRng};
        let mut random = rand_xoshiro::Xoshiro256PlusPlus::seed_from_u64(7);
        let pieces = [
            "<",
            ">",
            "</",
            "<!--",
            "-->",
            "<p",
            "<table>",
            "<td>",
            "<tr>",
            "</table>",
            "=",
            "\"",
            "'",
            "&",
            "&#x",
            ";",
            " ",
            "a",
            "é",
            "<script>",
            "</script",
            "<li>",
            "</p>",
            "/",
            "<!",
            "<?",
            "\0",
            "</html>",
            "<body ",
            "<textarea>",
        ];
        for _ in 0..5_000 {
            let length = random.random_range(0..30);
            let text: String = (0..length).map(|_| pieces[random.random_range(0..pieces.len())]).collect();
            let document = parse(&text);
            let once = document.inner(ROOT);
            assert!(once.starts_with("<html"), "{text:?}");
            for id in document.descendants(ROOT) {
                assert!(
                    document.parent(id).is_some_and(|up| document.children(up).contains(&id)),
                    "{text:?}"
                );
            }
        }
    }
}
