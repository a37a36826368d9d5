//! The `traceparent` that sqlcommenter and OpenTelemetry's instrumentations write into a comment of the statement.
//! Found in any comment that is written as they write it; nothing else of a comment is read.

const KEY: &str = "traceparent='";
/// `00-`, 32 digits, `-`, 16 digits, `-`, 2 digits.
const VALUE_BYTES: usize = 55;

/// Trace and span of the caller, as a comment of `text` names them, and the text without that comment.
pub(crate) fn traceparent(text: &str) -> Option<((u128, u64), String)> {
    let at = text.find(KEY)?;
    let value = text.get(at + KEY.len()..at + KEY.len() + VALUE_BYTES)?;
    let ids = parsed(value)?;
    let open = text[..at].rfind("/*")?;
    if text[open..at].contains("*/") {
        return None;
    }
    let close = at + text[at..].find("*/")? + 2;
    Some((ids, format!("{} {}", &text[..open], &text[close..]).trim().to_owned()))
}

fn parsed(value: &str) -> Option<(u128, u64)> {
    let mut parts = value.split('-');
    let (version, trace, span) = (parts.next()?, parts.next()?, parts.next()?);
    let hex = |part: &str, digits: usize| part.len() == digits && part.bytes().all(|b| b.is_ascii_hexdigit());
    if !hex(version, 2) || !hex(trace, 32) || !hex(span, 16) {
        return None;
    }
    let ids = (u128::from_str_radix(trace, 16).ok()?, u64::from_str_radix(span, 16).ok()?);
    (ids.0 != 0 && ids.1 != 0).then_some(ids)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-5bd66ef5095369c7b0d1f8f4bd33716a-c532cb4098ac3dd2-01";

    #[test]
    fn a_comment_names_its_caller() {
        let text = format!("SELECT 1 /*action='list',traceparent='{PARENT}',x='y'*/");
        let (ids, rest) = traceparent(&text).unwrap();
        assert_eq!(ids, (0x5bd6_6ef5_0953_69c7_b0d1_f8f4_bd33_716a, 0xc532_cb40_98ac_3dd2));
        assert_eq!(rest, "SELECT 1");
    }

    #[test]
    fn what_is_no_such_comment_names_nobody() {
        for text in [
            format!("SELECT 'traceparent=''{PARENT}'''"),
            format!("SELECT 1 /* x */ AS \"traceparent='{PARENT}'\" /* y */"),
            "SELECT 1 /*traceparent='00-0-0-01'*/".to_owned(),
            format!("SELECT 1 /*traceparent='{}'*/", "0".repeat(55)),
            "SELECT 1 /*traceparent='00-".to_owned(),
            format!("SELECT 1 /*traceparent='{PARENT}'"),
        ] {
            assert_eq!(traceparent(&text), None, "{text}");
        }
    }
}
