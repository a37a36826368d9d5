//! One call of a script as plain values, and what came of it.

use super::{Cookie, Expected, Jar};
use bytes::Bytes;
use http::Method;
use load::http::{Headers, Origin, Response};
use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum ResponseType {
    #[default]
    Text,
    Binary,
    None,
}

/// How a call proves who it is, beside what its headers say.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) enum Auth {
    #[default]
    None,
    Digest {
        user: String,
        password: String,
    },
}

/// Passwords are not shown.
impl std::fmt::Debug for Auth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::Digest { .. } => "Digest",
        })
    }
}

/// A request as a script asked for it, redirects to follow included.
#[derive(Clone)]
pub(crate) struct Call {
    pub(crate) method: Method,
    /// As the script wrote it, without user and password.
    pub(crate) url: Rc<str>,
    pub(crate) origin: Origin,
    pub(crate) path: Rc<str>,
    pub(crate) headers: Headers,
    pub(crate) body: Bytes,
    /// The `name` tag, where it is not the URL.
    pub(crate) name: Option<Rc<str>>,
    pub(crate) tags: Vec<(String, String)>,
    pub(crate) timeout: Duration,
    pub(crate) redirects: u32,
    pub(crate) auth: Auth,
    /// The user's own where none is given.
    pub(crate) jar: Option<Rc<RefCell<Jar>>>,
    /// For this request alone.
    pub(crate) cookies: Vec<OwnCookie>,
    pub(crate) response_type: ResponseType,
    pub(crate) expected: Option<Expected>,
    /// Throw where no response came.
    pub(crate) throws: bool,
    /// Why it cannot be sent.
    pub(crate) unsendable: Option<Unsendable>,
    /// The request as the script made it, once a redirect has changed it.
    pub(crate) asked: Option<Rc<Asked>>,
}

/// A cookie that a script gives to one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OwnCookie {
    pub(crate) name: String,
    pub(crate) value: String,
    /// In place of the jar's of this name, not beside it.
    pub(crate) replaces: bool,
}

/// Why a call fails before anything is sent, and k6's number of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unsendable {
    pub(crate) code: u32,
    pub(crate) why: String,
    /// It counts among the requests. What cannot even be put together does not, as in k6.
    pub(crate) is_request: bool,
}

/// What `response.request` shows.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) method: Method,
    pub(crate) url: Rc<str>,
    pub(crate) headers: Headers,
    pub(crate) body: Bytes,
}

impl std::fmt::Debug for Call {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Call").field("method", &self.method).finish_non_exhaustive()
    }
}

/// The last response of a call, after all redirects.
pub(crate) struct Exchange {
    pub(crate) call: Call,
    pub(crate) response: Response,
    /// What the response set.
    pub(crate) cookies: Vec<Cookie>,
    /// What the first request of the call carried.
    pub(crate) sent_cookies: Vec<OwnCookie>,
    /// k6's number of the error; 0 without one.
    pub(crate) error_code: u32,
}

impl Exchange {
    /// As scripts see it: 0 where no whole response came.
    pub(crate) fn status(&self) -> u16 {
        told_status(&self.response)
    }

    pub(crate) fn error(&self) -> &str {
        self.response.failure.as_ref().map_or("", |failure| failure.text.as_str())
    }
}

/// k6 tells no status of a response that broke off.
pub(super) fn told_status(response: &Response) -> u16 {
    if response.failure.is_some() { 0 } else { response.status }
}
