//! k6/crypto: hashes, HMACs and random bytes.

#![expect(clippy::needless_pass_by_value, reason = "QuickJS hands natives their arguments by value")]

use crate::crypto::{Hash, hmac};
use crate::engine::throw;
use crate::values::{array_buffer, function, to_bytes};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE, URL_SAFE_NO_PAD};
use ring::rand::{SecureRandom, SystemRandom};
use rquickjs::{Ctx, IntoJs, Object, Result, Value};

/// Random bytes asked for at once.
const MAX_RANDOM_BYTES: usize = 16 << 20;

pub(super) fn install<'js>(ctx: &Ctx<'js>, group: &Object<'js>) -> Result<()> {
    function(ctx, group, "hash", digest)?;
    function(ctx, group, "hmac", keyed)?;
    function(ctx, group, "randomBytes", random_bytes)?;
    function(ctx, group, "hexEncode", |bytes: Value<'js>| {
        to_bytes(&bytes).map(|bytes| crate::crypto::hex(&bytes))
    })?;
    function(ctx, group, "known", |ctx: Ctx<'js>, name: String| hash_of(&ctx, &name).map(|_| true))
}

fn hash_of(ctx: &Ctx<'_>, name: &str) -> Result<Hash> {
    Hash::named(name).ok_or_else(|| {
        throw(
            ctx,
            &format!("hash `{name}` is none of md4, md5, ripemd160, sha1, sha256, sha384, sha512, sha512_224, sha512_256"),
        )
    })
}

/// `input`: parts that belong together.
fn digest<'js>(ctx: Ctx<'js>, name: String, input: Vec<Value<'js>>, encoding: String) -> Result<Value<'js>> {
    let hash = hash_of(&ctx, &name)?;
    encode(&ctx, hash.digest(&joined(&input)?), &encoding)
}

fn keyed<'js>(
    ctx: Ctx<'js>,
    name: String,
    key: Value<'js>,
    input: Vec<Value<'js>>,
    encoding: String,
) -> Result<Value<'js>> {
    let hash = hash_of(&ctx, &name)?;
    encode(&ctx, hmac(hash, &to_bytes(&key)?, &joined(&input)?), &encoding)
}

fn joined(parts: &[Value<'_>]) -> Result<Vec<u8>> {
    let mut all = Vec::new();
    for part in parts {
        all.extend_from_slice(&to_bytes(part)?);
    }
    Ok(all)
}

fn encode<'js>(ctx: &Ctx<'js>, bytes: Vec<u8>, encoding: &str) -> Result<Value<'js>> {
    match encoding {
        "hex" => crate::crypto::hex(&bytes).into_js(ctx),
        "base64" => STANDARD.encode(bytes).into_js(ctx),
        "base64url" => URL_SAFE.encode(bytes).into_js(ctx),
        "base64rawurl" => URL_SAFE_NO_PAD.encode(bytes).into_js(ctx),
        "binary" => array_buffer(ctx, &bytes),
        other => Err(throw(
            ctx,
            &format!("unknown encoding `{other}`, use hex, base64, base64url, base64rawurl or binary"),
        )),
    }
}

fn random_bytes(ctx: Ctx<'_>, count: usize) -> Result<Value<'_>> {
    if count == 0 || count > MAX_RANDOM_BYTES {
        return Err(throw(&ctx, &format!("randomBytes: from 1 to {MAX_RANDOM_BYTES}")));
    }
    let mut bytes = vec![0; count];
    if SystemRandom::new().fill(&mut bytes).is_err() {
        return Err(throw(&ctx, "randomBytes: the system has none"));
    }
    array_buffer(&ctx, &bytes)
}
