//! What proves a password without sending it.

use anyhow::{Result, bail};
use ring::digest::{Context, Digest, SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest};

/// How a server asks for a proof.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Bytes(Vec<u8>),
    /// The password itself: only where nobody else hears it.
    Clear,
}

/// The answer to a plugin's question.
///
/// # Errors
/// The plugin is not known.
pub(super) fn answer(plugin: &str, password: &str, nonce: &[u8]) -> Result<Answer> {
    // Some servers end it with a zero.
    let nonce = &nonce[..nonce.len().min(20)];
    Ok(match plugin {
        _ if password.is_empty() && plugin != "mysql_clear_password" => Answer::Bytes(Vec::new()),
        "mysql_native_password" => Answer::Bytes(native(password, nonce)),
        "caching_sha2_password" => Answer::Bytes(caching(password, nonce)),
        "mysql_clear_password" => Answer::Clear,
        // The server looks at who is at the other end of the socket.
        "unix_socket" | "auth_socket" => Answer::Bytes(Vec::new()),
        other => bail!(
            "the server asks for {other}, which is not known here; make a user to read with that is identified by mysql_native_password or caching_sha2_password: CREATE USER reader@'...' IDENTIFIED VIA mysql_native_password USING PASSWORD('...')"
        ),
    })
}

/// SHA1(password) xor SHA1(nonce, SHA1(SHA1(password))).
fn native(password: &str, nonce: &[u8]) -> Vec<u8> {
    let once = digest(&SHA1_FOR_LEGACY_USE_ONLY, password.as_bytes());
    let twice = digest(&SHA1_FOR_LEGACY_USE_ONLY, once.as_ref());
    let mut context = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
    context.update(nonce);
    context.update(twice.as_ref());
    xor(&once, &context.finish())
}

/// SHA256(password) xor SHA256(SHA256(SHA256(password)), nonce).
fn caching(password: &str, nonce: &[u8]) -> Vec<u8> {
    let once = digest(&SHA256, password.as_bytes());
    let twice = digest(&SHA256, once.as_ref());
    let mut context = Context::new(&SHA256);
    context.update(twice.as_ref());
    context.update(nonce);
    xor(&once, &context.finish())
}

fn xor(one: &Digest, other: &Digest) -> Vec<u8> {
    one.as_ref().iter().zip(other.as_ref()).map(|(a, b)| a ^ b).collect()
}

#[cfg(test)]
mod tests {
    use super::{Answer, answer, caching, native};

    #[test]
    fn a_proof_is_undone_by_who_knows_the_hash() {
        // What a server does: proof xor SHA1(nonce, stored) is SHA1(password).
        use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY as SHA1, digest};
        let (nonce, once) = ([7_u8; 20], digest(&SHA1, b"hunter2"));
        let stored = digest(&SHA1, once.as_ref());
        let mask = digest(&SHA1, &[&nonce[..], stored.as_ref()].concat());
        let undone: Vec<u8> =
            native("hunter2", &nonce).iter().zip(mask.as_ref()).map(|(a, b)| a ^ b).collect();
        assert_eq!(undone, once.as_ref());
        assert_eq!(caching("hunter2", &nonce).len(), 32);
    }

    #[test]
    fn what_is_not_known_is_told_without_the_password() {
        assert_eq!(answer("mysql_native_password", "", &[]).unwrap(), Answer::Bytes(Vec::new()));
        let error = answer("client_ed25519", "hunter2", &[1; 32]).unwrap_err().to_string();
        assert!(error.contains("client_ed25519") && !error.contains("hunter2"));
    }
}
