//! Texts without their values: what stays the same when the same code runs again.
//! A template names a call; two calls of one template differ in parameters only.

use model::template::is_value;
pub(crate) use model::template::path;

/// The statement without literals, see [`model::sql`].
pub(crate) fn statement(text: &str) -> String {
    model::sql::normalise(text)
}

/// Whether a statement has places whose values are sent apart, or were removed from it: `$1`, `?`, `%s`, `:id`, `@p0`.
/// Any such character within a literal counts as well: it is better not to know than to know wrongly.
pub(crate) fn hides_parameters(text: &str) -> bool {
    let bytes = text.as_bytes();
    (0..bytes.len()).any(|at| {
        let (before, next) =
            (at.checked_sub(1).map(|b| bytes[b]), bytes.get(at + 1).copied().unwrap_or(b' '));
        match bytes[at] {
            b'?' => true,
            b'$' => next.is_ascii_digit(),
            b'%' => next == b's' || next == b'(',
            b':' => before != Some(b':') && (next.is_ascii_alphabetic() || next == b'_'),
            b'@' => next.is_ascii_alphabetic(),
            _ => false,
        }
    })
}

/// A statement for comparing texts of different origin: normalised, lower case, without white space and quotes.
pub(crate) fn bare(text: &str) -> String {
    let kept = statement(text).to_ascii_lowercase();
    kept.chars().filter(|c| !c.is_whitespace() && !matches!(c, '"' | '`' | ';')).collect()
}

/// A span's name without the numbers and identifiers that some instrumentations put into it.
pub(crate) fn name(text: &str) -> String {
    if !text.bytes().any(|b| b.is_ascii_digit()) {
        return text.to_owned();
    }
    text.split(' ').map(|word| positions(&path(word))).collect::<Vec<_>>().join(" ")
}

/// Positions in a list of a field's path, `orders.0.items` of GraphQL, as `orders.{id}.items`.
fn positions(word: &str) -> String {
    let mut after_name = false;
    let part = |part: &str| {
        let is_position = after_name && !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        after_name = part.len() > 1 && part.bytes().all(|b| b.is_ascii_alphabetic() || b == b'_');
        if is_position { "{id}".to_owned() } else { part.to_owned() }
    };
    word.split('.').map(part).collect::<Vec<_>>().join(".")
}

/// Host and path of a URL: `stock/stock/{id}`; scheme, port, user and query are dropped.
pub(crate) fn url(text: &str) -> String {
    let Some((_, rest)) = text.split_once("://") else { return path(text) };
    let split = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, rest) = rest.split_at(split);
    let host = authority.rsplit('@').next().unwrap_or(authority);
    let host = match host.rsplit_once(':') {
        Some((name, port)) if !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    };
    format!("{host}{}", path(rest))
}

/// A key-value command: verb and the pattern of its first key, `GET user:{id}`.
pub(crate) fn command(text: &str) -> String {
    let mut words = text.split_whitespace();
    let verb = words.next().unwrap_or("").to_ascii_uppercase();
    let Some(key) = words.next() else { return verb };
    let mut out = verb;
    out.push(' ');
    let mut part = String::new();
    for c in key.chars() {
        if matches!(c, ':' | '/' | '.' | '|' | '{' | '}') {
            push_part(&mut out, &part);
            part.clear();
            out.push(c);
        } else {
            part.push(c);
        }
    }
    push_part(&mut out, &part);
    out
}

fn push_part(out: &mut String, part: &str) {
    out.push_str(if is_value(part) { "{id}" } else { part });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_known_only_where_the_text_holds_them_all() {
        for hidden in ["a = $1", "a = ?", "a = %s", "a = %(id)s", "a = :id", "a = @p0", "a = $1 LIMIT 10"] {
            assert!(hides_parameters(hidden), "{hidden}");
        }
        for told in ["a = 1", "a = 'x'", "a::int = 7", "SELECT 1", "a % 2 = 0", "SELECT '$'"] {
            assert!(!hides_parameters(told), "{told}");
        }
    }

    #[test]
    fn urls_lose_scheme_port_user_and_query() {
        assert_eq!(url("http://user:secret@stock:80/stock/7?x=1"), "stock/stock/{id}");
        assert_eq!(url("https://[::1]:8443/a"), "[::1]/a");
        assert_eq!(url("/only/7"), "/only/{id}");
    }

    #[test]
    fn positions_in_a_list_are_not_part_of_a_name_but_versions_are() {
        assert_eq!(
            name("graphql.resolve orders.0.items.12.sku"),
            "graphql.resolve orders.{id}.items.{id}.sku"
        );
        assert_eq!(name("HTTP/1.1 v1.2.3 10.0.0.1"), "HTTP/1.1 v1.2.3 10.0.0.1");
    }

    #[test]
    fn commands_keep_verb_and_key_pattern() {
        assert_eq!(command("get user:17:name"), "GET user:{id}:name");
        assert_eq!(command("PING"), "PING");
        assert_eq!(command("SET k v"), "SET k");
        assert_eq!(command(""), "");
    }
}
