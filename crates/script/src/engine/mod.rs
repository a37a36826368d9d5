//! JavaScript for many users on one thread: contexts of QuickJS, each user on a coroutine of its own.
//!
//! Several users may share one QuickJS runtime. QuickJS keeps the innermost stack frame in the runtime, and every call
//! links to it and puts it back on return. Interleaved users stay sound by three rules. They switch inside native
//! functions only, each called by a JavaScript function of its own that does nothing else: its return links the user's
//! frames again. Each user runs in one JavaScript loop to its end, so that its frames are linked to its own. Whenever a user ends, the [`anchor::Anchor`] makes a frame that lives as long as
//! the runtime the innermost one.

mod anchor;
mod coroutine;
mod error;
mod intrinsics;
mod modules;
mod realm;

pub(crate) use coroutine::{Doorway, Parallel, Resume, Thread, Wait, current, end_of_time, suspend};
pub(crate) use error::{Raised, of_value, raised, throw, throw_marked};
pub(crate) use intrinsics::Objects;
pub(crate) use modules::{Sources, normal};
pub(crate) use realm::{Engine, Kept, Realm, ensure, proto, webcrypto};
