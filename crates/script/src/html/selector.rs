//! CSS selectors, as scripts use them: compounds, combinators, attributes, the structural pseudo-classes, `:not`,
//! `:has`, `:contains`, and jQuery's names of form fields.

use super::document::{Document, Id};

/// Longer selectors are refused.
const MAX_BYTES: usize = 16 << 10;
/// Selectors within selectors.
const MAX_DEPTH: u32 = 8;

/// Alternatives.
#[derive(Debug, PartialEq)]
pub(super) struct Selector(Vec<Complex>);

/// The last compound, and what must be around it, from right to left.
#[derive(Debug, PartialEq)]
struct Complex {
    last: Vec<Simple>,
    before: Vec<(Combinator, Vec<Simple>)>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Combinator {
    Inside,
    Child,
    Next,
    After,
}

#[derive(Debug, PartialEq)]
enum Simple {
    Any,
    Name(String),
    Id(String),
    Class(String),
    Attribute {
        name: String,
        test: Test,
        value: String,
    },
    Nth {
        step: i64,
        offset: i64,
        of_type: bool,
        from_end: bool,
    },
    Only {
        of_type: bool,
    },
    Empty,
    Root,
    Not(Selector),
    Has(Selector),
    Contains(String),
    /// A field's type or state.
    Field(Field),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Test {
    There,
    Is,
    IsNot,
    Word,
    Dash,
    Starts,
    Ends,
    Holds,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Field {
    Input,
    Button,
    Checked,
    Selected,
    Disabled,
    Enabled,
    Type(&'static str),
}

impl Selector {
    /// # Errors
    /// What cannot be understood.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        if text.len() > MAX_BYTES {
            return Err(format!("a selector of more than {MAX_BYTES} bytes"));
        }
        let mut reader = Reader { text, rest: text.trim(), depth: 0 };
        let selector = reader.selector()?;
        if reader.rest.is_empty() { Ok(selector) } else { Err(reader.wrong()) }
    }

    pub(super) fn matches(&self, document: &Document, id: Id) -> bool {
        document.name(id).is_some() && self.0.iter().any(|one| one.matches(document, id))
    }
}

impl Complex {
    fn matches(&self, document: &Document, id: Id) -> bool {
        all(&self.last, document, id) && around(&self.before, document, id)
    }
}

fn all(compound: &[Simple], document: &Document, id: Id) -> bool {
    compound.iter().all(|simple| simple.matches(document, id))
}

fn around(before: &[(Combinator, Vec<Simple>)], document: &Document, id: Id) -> bool {
    let Some(((combinator, compound), further)) = before.split_first() else { return true };
    let fits = |id: Id| all(compound, document, id) && around(further, document, id);
    let up = |id: Id| document.parent(id).filter(|up| document.name(*up).is_some());
    match combinator {
        Combinator::Child => up(id).is_some_and(fits),
        Combinator::Inside => {
            // The nearest is as good as any further one, unless something must stand beside it.
            let far = matches!(
                further.first(),
                Some((Combinator::Child | Combinator::Next | Combinator::After, _))
            );
            let mut above =
                std::iter::successors(up(id), |id| up(*id)).filter(|id| all(compound, document, *id));
            if far { above.any(|id| around(further, document, id)) } else { above.next().is_some_and(fits) }
        }
        Combinator::Next => earlier(document, id).next_back().is_some_and(fits),
        Combinator::After => earlier(document, id).any(fits),
    }
}

/// Sibling elements before this one.
fn earlier(document: &Document, id: Id) -> impl DoubleEndedIterator<Item = Id> {
    let siblings = document.parent(id).map_or(&[][..], |up| document.children(up));
    let end = siblings.binary_search(&id).unwrap_or(0);
    siblings[..end].iter().copied().filter(|one| document.name(*one).is_some())
}

impl Simple {
    fn matches(&self, document: &Document, id: Id) -> bool {
        let name = document.name(id).unwrap_or("");
        match self {
            Self::Any => true,
            Self::Name(wanted) => wanted == name,
            Self::Id(wanted) => document.attribute(id, "id") == Some(wanted),
            Self::Class(wanted) => document
                .attribute(id, "class")
                .is_some_and(|all| all.split_whitespace().any(|one| one == wanted)),
            Self::Attribute { name, test, value } => test.holds(document.attribute(id, name), value),
            Self::Nth { step, offset, of_type, from_end } => {
                let place = place(document, id, *of_type, *from_end);
                let beyond = place - offset;
                if *step == 0 { beyond == 0 } else { beyond % step == 0 && beyond / step >= 0 }
            }
            Self::Only { of_type } => {
                place(document, id, *of_type, false) == 1 && place(document, id, *of_type, true) == 1
            }
            Self::Empty => document.children(id).iter().all(|child| {
                matches!(document.get(*child).map(|node| &node.kind), Some(super::document::Kind::Comment(_)))
            }),
            Self::Root => document.parent(id).is_some_and(|up| document.name(up).is_none()),
            Self::Not(inner) => !inner.matches(document, id),
            Self::Has(inner) => document.descendants(id).any(|below| inner.matches(document, below)),
            Self::Contains(text) => {
                let mut all = String::new();
                document.text(id, &mut all);
                all.contains(text)
            }
            Self::Field(field) => field.matches(document, id, name),
        }
    }
}

/// From 1, among the elements of the same parent.
fn place(document: &Document, id: Id, of_type: bool, from_end: bool) -> i64 {
    let Some(up) = document.parent(id) else { return 1 };
    if !of_type {
        let (place, of) = document.place(id);
        return i64::from(if from_end { of + 1 - place } else { place });
    }
    let before = document.elements(up).filter(|one| document.name(*one) == document.name(id));
    let before = if from_end {
        before.filter(|one| *one > id).count()
    } else {
        before.filter(|one| *one < id).count()
    };
    i64::try_from(before).unwrap_or(i64::MAX - 1) + 1
}

impl Test {
    fn holds(self, own: Option<&str>, value: &str) -> bool {
        let Some(own) = own else { return self == Self::IsNot };
        match self {
            Self::There => true,
            Self::Is => own == value,
            Self::IsNot => own != value,
            Self::Word => own.split_whitespace().any(|word| word == value),
            Self::Dash => {
                own.strip_prefix(value).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
            }
            Self::Starts => !value.is_empty() && own.starts_with(value),
            Self::Ends => !value.is_empty() && own.ends_with(value),
            Self::Holds => !value.is_empty() && own.contains(value),
        }
    }
}

impl Field {
    fn matches(self, document: &Document, id: Id, name: &str) -> bool {
        let has = |attribute: &str| document.attribute(id, attribute).is_some();
        let is_field = matches!(name, "input" | "select" | "textarea" | "button");
        match self {
            Self::Input => is_field,
            Self::Button => {
                name == "button" || (name == "input" && document.attribute(id, "type") == Some("button"))
            }
            Self::Checked => (name == "input" && has("checked")) || (name == "option" && has("selected")),
            Self::Selected => name == "option" && has("selected"),
            Self::Disabled => {
                has("disabled") && (is_field || matches!(name, "option" | "optgroup" | "fieldset"))
            }
            Self::Enabled => is_field && !has("disabled"),
            Self::Type(kind) => {
                let own = document.attribute(id, "type").map(str::to_ascii_lowercase);
                own.as_deref() == Some(kind) && matches!(name, "input" | "button")
            }
        }
    }
}

struct Reader<'t> {
    text: &'t str,
    rest: &'t str,
    depth: u32,
}

fn is_name(c: char) -> bool {
    c.is_alphanumeric() || c == '-' || c == '_' || !c.is_ascii()
}

impl Reader<'_> {
    fn wrong(&self) -> String {
        let at = self.text.len() - self.rest.len();
        format!("the selector `{}` cannot be read at `{}`", self.text, self.text.get(at..).unwrap_or(""))
    }

    fn skip(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn take(&mut self, token: &str) -> bool {
        match self.rest.strip_prefix(token) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn selector(&mut self) -> Result<Selector, String> {
        let mut all = vec![self.complex()?];
        loop {
            self.skip();
            if !self.take(",") {
                return Ok(Selector(all));
            }
            self.skip();
            all.push(self.complex()?);
        }
    }

    fn complex(&mut self) -> Result<Complex, String> {
        let mut last = self.compound()?;
        let mut before = Vec::new();
        loop {
            let spaced = self.rest.starts_with(char::is_whitespace);
            self.skip();
            let combinator = match self.rest.chars().next() {
                Some('>') => Combinator::Child,
                Some('+') => Combinator::Next,
                Some('~') => Combinator::After,
                None | Some(',' | ')') => break,
                Some(_) if spaced => Combinator::Inside,
                Some(_) => return Err(self.wrong()),
            };
            if combinator != Combinator::Inside {
                self.rest = &self.rest[1..];
                self.skip();
            }
            let next = self.compound()?;
            before.push((combinator, std::mem::replace(&mut last, next)));
        }
        before.reverse();
        Ok(Complex { last, before })
    }

    fn compound(&mut self) -> Result<Vec<Simple>, String> {
        let mut all = Vec::new();
        if self.take("*") {
            all.push(Simple::Any);
        } else if self.rest.starts_with(|c: char| c.is_alphabetic() || c == '_') {
            all.push(Simple::Name(self.name()?.to_ascii_lowercase()));
        }
        loop {
            if self.take("#") {
                all.push(Simple::Id(self.name()?));
            } else if self.take(".") {
                all.push(Simple::Class(self.name()?));
            } else if self.take("[") {
                all.push(self.attribute()?);
            } else if self.take(":") {
                self.take(":");
                all.push(self.pseudo()?);
            } else {
                break;
            }
        }
        if all.is_empty() { Err(self.wrong()) } else { Ok(all) }
    }

    /// A name, with `\` before characters that are not of names.
    fn name(&mut self) -> Result<String, String> {
        let mut out = String::new();
        let mut chars = self.rest.char_indices();
        let end = loop {
            match chars.next() {
                Some((_, '\\')) => match chars.next() {
                    Some((_, c)) => out.push(c),
                    None => return Err(self.wrong()),
                },
                Some((_, c)) if is_name(c) => out.push(c),
                Some((at, _)) => break at,
                None => break self.rest.len(),
            }
        };
        if out.is_empty() {
            return Err(self.wrong());
        }
        self.rest = &self.rest[end..];
        Ok(out)
    }

    fn attribute(&mut self) -> Result<Simple, String> {
        self.skip();
        let name = self.name()?.to_ascii_lowercase();
        self.skip();
        let tests = [
            ("~=", Test::Word),
            ("|=", Test::Dash),
            ("^=", Test::Starts),
            ("$=", Test::Ends),
            ("*=", Test::Holds),
            ("!=", Test::IsNot),
            ("=", Test::Is),
        ];
        let found = tests.into_iter().find(|(token, _)| self.take(token));
        let Some((_, test)) = found else {
            return if self.take("]") {
                Ok(Simple::Attribute { name, test: Test::There, value: String::new() })
            } else {
                Err(self.wrong())
            };
        };
        self.skip();
        let value = self.value(']')?;
        self.skip();
        if self.take("]") { Ok(Simple::Attribute { name, test, value }) } else { Err(self.wrong()) }
    }

    /// Quoted, or up to `end`.
    fn value(&mut self, end: char) -> Result<String, String> {
        for quote in ['"', '\''] {
            if let Some(inside) = self.rest.strip_prefix(quote) {
                let (value, rest) = inside.split_once(quote).ok_or_else(|| self.wrong())?;
                self.rest = rest;
                return Ok(value.to_owned());
            }
        }
        let at = self.rest.find(end).ok_or_else(|| self.wrong())?;
        let value = self.rest[..at].trim();
        self.rest = &self.rest[at..];
        Ok(value.to_owned())
    }

    fn inner(&mut self) -> Result<Selector, String> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(format!("selectors of the selector `{}` lie too deep in each other", self.text));
        }
        self.skip();
        let inner = self.selector()?;
        self.depth -= 1;
        Ok(inner)
    }

    fn pseudo(&mut self) -> Result<Simple, String> {
        let name = self.name()?.to_ascii_lowercase();
        if self.take("(") {
            let simple = self.with_argument(&name)?;
            self.skip();
            return if self.take(")") { Ok(simple) } else { Err(self.wrong()) };
        }
        let nth = |of_type, from_end| Simple::Nth { step: 0, offset: 1, of_type, from_end };
        Ok(match name.as_str() {
            "first-child" => nth(false, false),
            "last-child" => nth(false, true),
            "first-of-type" => nth(true, false),
            "last-of-type" => nth(true, true),
            "only-child" => Simple::Only { of_type: false },
            "only-of-type" => Simple::Only { of_type: true },
            "empty" => Simple::Empty,
            "root" => Simple::Root,
            "input" => Simple::Field(Field::Input),
            "button" => Simple::Field(Field::Button),
            "checked" => Simple::Field(Field::Checked),
            "selected" => Simple::Field(Field::Selected),
            "disabled" => Simple::Field(Field::Disabled),
            "enabled" => Simple::Field(Field::Enabled),
            other => {
                let kinds =
                    ["checkbox", "file", "hidden", "image", "password", "radio", "reset", "submit", "text"];
                let kind = kinds.into_iter().find(|kind| *kind == other);
                Simple::Field(Field::Type(
                    kind.ok_or_else(|| format!("the pseudo-class `:{other}` is not supported"))?,
                ))
            }
        })
    }

    fn with_argument(&mut self, name: &str) -> Result<Simple, String> {
        Ok(match name {
            "not" => Simple::Not(self.inner()?),
            "has" => Simple::Has(self.inner()?),
            "contains" => {
                self.skip();
                Simple::Contains(self.value(')')?)
            }
            "nth-child" => self.nth(false, false)?,
            "nth-last-child" => self.nth(false, true)?,
            "nth-of-type" => self.nth(true, false)?,
            "nth-last-of-type" => self.nth(true, true)?,
            other => return Err(format!("the pseudo-class `:{other}()` is not supported")),
        })
    }

    /// `2n+1`, `odd`, `-n + 3`.
    fn nth(&mut self, of_type: bool, from_end: bool) -> Result<Simple, String> {
        let argument: String =
            self.value(')')?.chars().filter(|c| !c.is_whitespace()).collect::<String>().to_ascii_lowercase();
        let wrong = || format!("`{argument}` is no position such as 2, odd or 2n+1");
        let number = |text: &str| text.parse::<i64>().map_err(|_| wrong());
        let (step, offset) = match (argument.as_str(), argument.split_once('n')) {
            ("odd", _) => (2, 1),
            ("even", _) => (2, 0),
            (_, Some((step, offset))) => {
                let step = match step {
                    "" | "+" => 1,
                    "-" => -1,
                    step => number(step)?,
                };
                (step, if offset.is_empty() { 0 } else { number(offset)? })
            }
            (only, None) => (0, number(only)?),
        };
        // No element has so high a place.
        let (step, offset) =
            (step.clamp(-1_000_000_000, 1_000_000_000), offset.clamp(-1_000_000_000, 1_000_000_000));
        Ok(Simple::Nth { step, offset, of_type, from_end })
    }
}

#[cfg(test)]
mod tests {
    use super::super::document::ROOT;
    use super::super::parse::parse;
    use super::*;

    const PAGE: &str =
        "<div id=main class='a b'><p class=x>one</p><p data-k='v-w'>two <b>bold</b></p><span></span>
        <p lang=en-GB>three</p></div><form><input type=submit name=go><input type=checkbox checked name=c>
        <select><option>1<option selected>2</select></form>";

    #[track_caller]
    fn check(selector: &str, expected: &str) {
        let document = parse(PAGE);
        let selector = Selector::parse(selector).unwrap();
        let found: Vec<String> = document
            .descendants(ROOT)
            .filter(|id| selector.matches(&document, *id))
            .map(|id| {
                let mut text = String::new();
                document.text(id, &mut text);
                let name = document.name(id).unwrap_or("").to_owned();
                format!("{name}:{}", text.split_whitespace().collect::<Vec<_>>().join(" "))
            })
            .collect();
        assert_eq!(found.join(" | "), expected, "{selector:?}");
    }

    #[test]
    fn selectors_find_what_browsers_find() {
        check("p.x", "p:one");
        check("#main > p + p", "p:two bold");
        check("div p ~ span, b", "b:bold | span:");
        check("p:first-child", "p:one");
        check("p:nth-child(2n)", "p:two bold | p:three");
        check("p:nth-of-type(3), p:last-of-type", "p:three");
        check("p:not(.x):not([lang])", "p:two bold");
        check("[data-k^='v'][data-k$=w][data-k*=\"-\"]", "p:two bold");
        check("[lang|=en]", "p:three");
        check("div:has(b) > span:empty", "span:");
        check("p:contains('wo')", "p:two bold");
        check("[type=\"submit\"], :checkbox:checked, option:selected", "input: | input: | option:2");
        check("body DIV.a.b > p:only-child", "");
        check("p:nth-child(-n+1)", "p:one");
    }

    #[test]
    fn wrong_selectors_are_told() {
        for text in
            ["", ">", "a >", "[x", "p:nth-child(x)", "p:what", "a b)", "#", ".", "a,,b", "[a='b]", "a\\"]
        {
            assert!(Selector::parse(text).is_err(), "{text}");
        }
        assert!(Selector::parse(&":not(".repeat(3000)).is_err());
    }

    #[test]
    fn any_selector_ends_in_an_answer() {
        use rand::{Rng, SeedableRng};
        let mut random = rand_xoshiro::Xoshiro256PlusPlus::seed_from_u64(11);
        let document = parse(PAGE);
        let pieces = [
            "a",
            "p",
            ".x",
            "#main",
            "[",
            "]",
            "=",
            "'v'",
            ":not(",
            ")",
            ":nth-child(",
            "2n+1",
            " ",
            ">",
            "~",
            "+",
            ",",
            "*",
            "\\",
            "é",
            ":",
            "-",
        ];
        for _ in 0..20_000 {
            let length = random.random_range(0..12);
            let text: String = (0..length).map(|_| pieces[random.random_range(0..pieces.len())]).collect();
            if let Ok(selector) = Selector::parse(&text) {
                let _found = document.descendants(ROOT).filter(|id| selector.matches(&document, *id)).count();
            }
        }
    }
}
