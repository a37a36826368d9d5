//! Digest authorization (RFC 7616 with MD5, RFC 2069 where no `qop` is offered), for `auth: 'digest'`.

use crate::crypto::md5_hex;
use std::collections::BTreeMap;

/// Who asks for what.
pub(super) struct Asked<'a> {
    pub(super) user: &'a str,
    pub(super) password: &'a str,
    pub(super) method: &'a str,
    pub(super) path: &'a str,
}

/// The `authorization` field that answers a challenge; `None` where it cannot be answered.
pub(super) fn answer(challenge: &str, asked: &Asked<'_>, client_nonce: u64) -> Option<String> {
    let rest = challenge.trim();
    let fields =
        rest.get(..7).filter(|scheme| scheme.eq_ignore_ascii_case("digest ")).map(|_| fields(&rest[7..]))?;
    let field = |name: &str| fields.get(name).map(String::as_str);
    let (realm, nonce) = (field("realm").unwrap_or(""), field("nonce")?);
    let algorithm = field("algorithm").unwrap_or("MD5");
    let (client_nonce, count) = (format!("{client_nonce:016x}"), "00000001");
    let mut first = md5_hex(format!("{}:{realm}:{}", asked.user, asked.password).as_bytes());
    match algorithm.to_ascii_uppercase().as_str() {
        "MD5" => {}
        "MD5-SESS" => first = md5_hex(format!("{first}:{nonce}:{client_nonce}").as_bytes()),
        _ => return None,
    }
    let second = md5_hex(format!("{}:{}", asked.method, asked.path).as_bytes());
    let with_auth = field("qop").is_some_and(|qop| qop.split(',').any(|one| one.trim() == "auth"));
    let response = if with_auth {
        md5_hex(format!("{first}:{nonce}:{count}:{client_nonce}:auth:{second}").as_bytes())
    } else {
        md5_hex(format!("{first}:{nonce}:{second}").as_bytes())
    };
    let mut out = format!(
        "Digest username=\"{}\", realm=\"{realm}\", nonce=\"{nonce}\", uri=\"{}\", algorithm={algorithm}, \
         response=\"{response}\"",
        asked.user, asked.path
    );
    if with_auth {
        out.push_str(&format!(", qop=auth, nc={count}, cnonce=\"{client_nonce}\""));
    }
    if let Some(opaque) = field("opaque") {
        out.push_str(&format!(", opaque=\"{opaque}\""));
    }
    Some(out)
}

/// `name="value", name=value`; names in lower case.
fn fields(text: &str) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut rest = text;
    while let Some((name, after)) = rest.split_once('=') {
        let name = name.trim_matches([',', ' ']).to_ascii_lowercase();
        let after = after.trim_start();
        let (value, next) = match after.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').unwrap_or((quoted, "")),
            None => after.split_once(',').unwrap_or((after, "")),
        };
        found.insert(name, value.trim().to_owned());
        rest = next;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_of_rfc_2617_section_3_5() {
        let challenge = "Digest realm=\"testrealm@host.com\", qop=\"auth,auth-int\", \
                         nonce=\"dcd98b7102dd2f0e8b11d0f600bfb0c093\", opaque=\"5ccc069c403ebaf9f0171e9517f40e41\"";
        let asked =
            Asked { user: "Mufasa", password: "Circle Of Life", method: "GET", path: "/dir/index.html" };
        let answer = answer(challenge, &asked, 0x0a4f_113b).unwrap();
        assert!(answer.contains("cnonce=\"000000000a4f113b\""), "{answer}");
        assert!(answer.contains("opaque=\"5ccc069c403ebaf9f0171e9517f40e41\""), "{answer}");
        // RFC 2069's form has no client nonce: its answer is fixed.
        let old = "Digest realm=\"testrealm@host.com\", nonce=\"dcd98b7102dd2f0e8b11d0f600bfb0c093\"";
        let answer = super::answer(old, &asked, 1).unwrap();
        assert!(answer.contains("response=\"670fd8c2df070c60b045671b8b24ff02\""), "{answer}");
        assert_eq!(super::answer("Basic realm=\"x\"", &asked, 1), None);
    }
}
