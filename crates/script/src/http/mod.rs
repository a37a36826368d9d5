//! k6/http: what a script asks, how it is sent (redirects, cookies, digest), what comes back, and its metrics.

mod barred;
mod batch;
mod body;
mod call;
mod cookies;
mod digest;
mod expected;
mod jar_object;
mod module;
mod params;
mod perform;
mod response;
mod urls;

pub(crate) use barred::Barred;
pub(crate) use call::{Call, Exchange, ResponseType, Unsendable};
pub(crate) use cookies::{Cookie, Jar, unix_ms};
pub(crate) use expected::Expected;
pub(crate) use module::install;
pub(crate) use params::{Verb, call};
pub(crate) use perform::{cookie_field, perform_all};
pub(crate) use response::{canonical, deliver, prototype};
pub(crate) use urls::{Urls, resolve};
