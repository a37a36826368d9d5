//! Statements that read a long result in pieces: by OFFSET, by the key that sorts it, or from a cursor.

/// Whether a statement reads the next piece of a result. A range of the sort key with an equality beside it is none: it
/// may be the latest few rows of each parent.
pub(in crate::rules) fn is_page(template: &str) -> bool {
    let words: Vec<String> = words(template);
    let at = |word: &str| words.iter().position(|w| w == word);
    match words.first().map(String::as_str) {
        Some("FETCH" | "GETMORE") => return true,
        Some("SELECT" | "WITH") => {}
        _ => return false,
    }
    let bounded = at("LIMIT").or_else(|| at("FETCH"));
    let (Some(_), Some(sorted)) = (bounded, at("ORDER")) else { return false };
    if at("OFFSET").is_some() {
        return true;
    }
    let Some(condition) = at("WHERE").and_then(|from| words.get(from..sorted)) else { return false };
    let has = |list: &[&str]| condition.iter().any(|w| list.contains(&w.as_str()));
    has(&["<", ">"]) && !has(&["=", "IN", "ANY", "LIKE", "ILIKE", "EXISTS"])
}

/// Words in upper case, and each run of comparison signs; `>=` counts as `>`.
fn words(template: &str) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    let mut word = String::new();
    let mut sign = String::new();
    for c in template.chars().chain(std::iter::once(' ')) {
        let is_sign = matches!(c, '<' | '>' | '=' | '!');
        if is_sign {
            sign.push(c);
        } else if !sign.is_empty() {
            let found = std::mem::take(&mut sign);
            let range = matches!(found.as_str(), "<" | "<=" | ">" | ">=");
            out.push(if range { found[..1].to_owned() } else { "=".to_owned() });
        }
        if c.is_ascii_alphanumeric() || c == '_' {
            word.push(c.to_ascii_uppercase());
        } else if !word.is_empty() {
            out.push(std::mem::take(&mut word));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::is_page;

    #[test]
    fn pages_are_told_from_look_ups() {
        assert!(is_page("SELECT id, note FROM orders WHERE id > ? ORDER BY id LIMIT ?"));
        assert!(is_page("SELECT id FROM orders WHERE tenant = $1 ORDER BY id LIMIT $2 OFFSET $3"));
        assert!(is_page("select * from a where created <= ? and created > ? order by created desc limit ?"));
        assert!(is_page("FETCH FORWARD ? FROM everything"));
        assert!(!is_page("SELECT id FROM comments WHERE post = $1 AND id > $2 ORDER BY id LIMIT $3"));
        assert!(!is_page("SELECT id FROM comments WHERE post = $1 ORDER BY id LIMIT $2"));
        assert!(!is_page("SELECT id FROM prices WHERE day <> ? ORDER BY day LIMIT ?"));
        assert!(!is_page("SELECT name FROM products WHERE id = ?"));
        assert!(!is_page("UPDATE a SET b = 1 WHERE id > ?"));
    }
}
