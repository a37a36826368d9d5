//! Answers of a Redis server, in the form of its protocol's second version. Bounded: a hostile or mistaken server costs a
//! limited amount of memory and no panic.

use anyhow::{Context, Result, bail};

/// A longer answer is none that we asked for.
pub(super) const MAX_BYTES: usize = 4 << 20;
/// Elements of one list.
const MAX_ELEMENTS: usize = 65_536;
/// Lists within lists: the slow log has three.
const MAX_DEPTH: usize = 8;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reply {
    Text(Vec<u8>),
    Number(i64),
    Nothing,
    List(Vec<Reply>),
    /// The server's words.
    Error(String),
}

impl Reply {
    pub(super) fn text(&self) -> Option<String> {
        match self {
            Self::Text(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
            _ => None,
        }
    }

    pub(super) fn number(&self) -> Option<i64> {
        match self {
            Self::Number(number) => Some(*number),
            _ => None,
        }
    }

    pub(super) fn list(&self) -> &[Reply] {
        match self {
            Self::List(all) => all,
            _ => &[],
        }
    }

    /// The same, unless it is an error.
    pub(super) fn well(self) -> Result<Self> {
        match self {
            Self::Error(said) => bail!("the server says: {said}"),
            other => Ok(other),
        }
    }
}

/// The first answer and its length in bytes; `None` where it has not come whole.
///
/// # Errors
/// It is none of the protocol's, or larger than is bearable.
pub(super) fn read(seen: &[u8]) -> Result<Option<(Reply, usize)>> {
    let mut at = 0;
    Ok(one(seen, &mut at, 0)?.map(|reply| (reply, at)))
}

fn one(seen: &[u8], at: &mut usize, depth: usize) -> Result<Option<Reply>> {
    if depth > MAX_DEPTH {
        bail!("an answer with lists within lists");
    }
    let Some(rest) = seen.get(*at..) else { return Ok(None) };
    let Some(end) = rest.windows(2).position(|two| two == b"\r\n") else {
        if rest.first().is_some_and(|kind| !b"+-:$*".contains(kind)) {
            bail!("the server speaks another protocol");
        }
        return Ok(None);
    };
    let line = String::from_utf8_lossy(&rest[..end]).into_owned();
    *at += end + 2;
    let Some((kind, text)) = line.split_at_checked(1) else { bail!("the server speaks another protocol") };
    let number = || text.parse::<i64>().with_context(|| "no number where one belongs in an answer");
    Ok(Some(match kind {
        "+" => Reply::Text(text.as_bytes().to_vec()),
        "-" => Reply::Error(text.to_owned()),
        ":" => Reply::Number(number()?),
        "$" => match usize::try_from(number()?) {
            Err(_) => Reply::Nothing,
            Ok(length) if length > MAX_BYTES => bail!("an answer of {length} bytes"),
            Ok(length) => {
                // Its end is awaited, too.
                let Some(body) = seen.get(*at..*at + length + 2) else { return Ok(None) };
                *at += length + 2;
                Reply::Text(body[..length].to_vec())
            }
        },
        "*" => match usize::try_from(number()?) {
            Err(_) => Reply::Nothing,
            Ok(count) if count > MAX_ELEMENTS => bail!("an answer of {count} elements"),
            Ok(count) => {
                let mut all = Vec::new();
                for _ in 0..count {
                    let Some(element) = one(seen, at, depth + 1)? else { return Ok(None) };
                    all.push(element);
                }
                Reply::List(all)
            }
        },
        _ => bail!("the server speaks another protocol"),
    }))
}

#[cfg(test)]
mod tests {
    use super::{Reply, read};

    #[test]
    fn answers_are_whole_or_awaited() {
        let whole = b"*3\r\n$2\r\nab\r\n:17\r\n*1\r\n$-1\r\n";
        for cut in 0..whole.len() {
            assert_eq!(read(&whole[..cut]).unwrap(), None, "{cut}");
        }
        let (reply, length) = read(whole).unwrap().unwrap();
        assert_eq!(length, whole.len());
        assert_eq!(reply.list()[0].text().as_deref(), Some("ab"));
        assert_eq!(reply.list()[1], Reply::Number(17));
        assert_eq!(reply.list()[2].list(), [Reply::Nothing]);
    }

    #[test]
    fn what_is_no_answer_is_an_error() {
        let deep = b"*1\r\n".repeat(20);
        for bad in [
            &b"HTTP/1.1 400\r\n"[..],
            b"H",
            b"$99999999999\r\n",
            b"*99999999999\r\n",
            b"$x\r\n",
            b"\r\n",
            deep.as_slice(),
        ] {
            assert!(read(bad).is_err(), "{bad:?}");
        }
        let refused = read(b"-NOAUTH Authentication required.\r\n").unwrap().unwrap().0;
        assert!(refused.well().unwrap_err().to_string().contains("NOAUTH"));
    }
}
