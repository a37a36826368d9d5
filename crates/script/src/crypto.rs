//! Hashes by name: SHA from ring, and from RustCrypto's crates those that it has not. For load tests, not for secrets.

use md5::{Digest, Md5};
use ring::digest;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hash {
    Md4,
    Md5,
    Ripemd160,
    Sha1,
    Sha256,
    Sha384,
    Sha512,
    Sha512Of224,
    Sha512Of256,
}

impl Hash {
    /// k6's names.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "md4" => Self::Md4,
            "md5" => Self::Md5,
            "ripemd160" => Self::Ripemd160,
            "sha1" => Self::Sha1,
            "sha256" => Self::Sha256,
            "sha384" => Self::Sha384,
            "sha512" => Self::Sha512,
            "sha512_224" => Self::Sha512Of224,
            "sha512_256" => Self::Sha512Of256,
            _ => return None,
        })
    }

    pub(crate) fn digest(self, input: &[u8]) -> Vec<u8> {
        let ring = |algorithm| digest::digest(algorithm, input).as_ref().to_vec();
        match self {
            Self::Md4 => md4::Md4::digest(input).to_vec(),
            Self::Md5 => Md5::digest(input).to_vec(),
            Self::Ripemd160 => ripemd::Ripemd160::digest(input).to_vec(),
            Self::Sha1 => ring(&digest::SHA1_FOR_LEGACY_USE_ONLY),
            Self::Sha256 => ring(&digest::SHA256),
            Self::Sha384 => ring(&digest::SHA384),
            Self::Sha512 => ring(&digest::SHA512),
            Self::Sha512Of224 => sha2::Sha512_224::digest(input).to_vec(),
            Self::Sha512Of256 => ring(&digest::SHA512_256),
        }
    }

    /// What is hashed at once, in bytes.
    fn block_bytes(self) -> usize {
        match self {
            Self::Md4 | Self::Md5 | Self::Ripemd160 | Self::Sha1 | Self::Sha256 => 64,
            Self::Sha384 | Self::Sha512 | Self::Sha512Of224 | Self::Sha512Of256 => 128,
        }
    }
}

/// RFC 2104.
pub(crate) fn hmac(hash: Hash, key: &[u8], input: &[u8]) -> Vec<u8> {
    let block = hash.block_bytes();
    let mut key = if key.len() > block { hash.digest(key) } else { key.to_vec() };
    key.resize(block, 0);
    let padded = |pad: u8, rest: &[u8]| -> Vec<u8> {
        let mut all: Vec<u8> = key.iter().map(|byte| byte ^ pad).collect();
        all.extend_from_slice(rest);
        hash.digest(&all)
    };
    padded(0x5c, &padded(0x36, input))
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(crate) fn md5_hex(input: &[u8]) -> String {
    hex(&Hash::Md5.digest(input))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_those_of_the_rfcs() {
        assert_eq!(md5_hex(b""), "d41d8cd98f00b204e9800998ecf8427e");
        assert_eq!(md5_hex(b"message digest"), "f96b697d7cb7938d525a2f31aaf161d0");
        let digits = "1234567890".repeat(8);
        assert_eq!(md5_hex(digits.as_bytes()), "57edf4a22be3c955ac49da2e2107b67a");
        assert_eq!(hex(&Hash::Sha1.digest(b"abc")), "a9993e364706816aba3e25717850c26c9cd0d89d");
        // RFC 1320 and the authors of RIPEMD-160.
        assert_eq!(hex(&Hash::Md4.digest(b"abc")), "a448017aaf21d8525fc10ae87aa6729d");
        assert_eq!(hex(&Hash::Ripemd160.digest(b"abc")), "8eb208f7e05d987a9b044a8e98c6b087f15a0bfc");
        assert!(hex(&Hash::Sha512Of224.digest(b"abc")).starts_with("4634270f707b6a54daae7530460842e2"));
        // RFC 2202, test case 2.
        let mac = hmac(Hash::Md5, b"Jefe", b"what do ya want for nothing?");
        assert_eq!(hex(&mac), "750c783e6ab0b503eaa86e310a5db738");
        let mac = hmac(Hash::Sha256, b"Jefe", b"what do ya want for nothing?");
        assert!(hex(&mac).starts_with("5bdcc146bf60754e6a042426089575c75a003f08"));
    }
}
