//! A user's own stack: a script's `sleep` and `http.get` suspend it, the driving task awaits and resumes it.
//! The one module that switches stacks and tells QuickJS where the stack ends.

use super::realm::Realm;
use super::throw;
use crate::http::{Call, Exchange};
use crate::user::User;
use anyhow::{Context as _, Result};
use corosensei::stack::{DefaultStack, Stack};
use corosensei::{Coroutine, CoroutineResult, Yielder};
use rquickjs::{Ctx, Value, qjs};
use std::cell::RefCell;
use std::mem::ManuallyDrop;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// Touched lazily: a user that needs little takes little.
const STACK_BYTES: usize = 512 << 10;
/// Below this, scripts get "stack overflow": what native functions need under the deepest script.
const RESERVE_BYTES: usize = 192 << 10;

/// What a suspended user waits for.
#[derive(Debug)]
pub(crate) enum Wait {
    /// For its next iteration; nothing of the script is on the stack.
    Idle,
    Sleep(Duration),
    /// For the user's bell, or for this time.
    Bell(Option<Instant>),
    /// All of these, so many at once.
    Http(Vec<Call>, Parallel),
}

/// Bounds of requests that one user sends at once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Parallel {
    pub(crate) all: usize,
    pub(crate) per_host: usize,
}

/// What a user is woken with.
pub(crate) enum Resume {
    Go,
    Http(Vec<Exchange>),
    /// Leave the script as soon as possible.
    Stop,
}

type Body = Coroutine<Resume, Wait, (), DefaultStack>;

/// The yielder of the coroutine that runs a user.
#[derive(Clone, Copy)]
pub(crate) struct Doorway(*const Yielder<Resume, Wait>);

thread_local! {
    /// The user whose script runs now.
    static CURRENT: RefCell<Option<Rc<User>>> = const { RefCell::new(None) };
}

/// One user's script, running or suspended.
pub(crate) struct Thread {
    /// Never dropped while suspended: unwinding through C frames is undefined.
    body: ManuallyDrop<Body>,
    user: Rc<User>,
    /// Lowest address that scripts may use.
    floor: usize,
    // Dropped last: the stack's values belong to it.
    realm: Rc<Realm>,
}

impl Thread {
    /// Enters `run`, which never returns before the user ends, and suspends at its first wait.
    ///
    /// # Errors
    /// No memory for a stack.
    pub(crate) fn start(
        realm: Rc<Realm>,
        user: Rc<User>,
        run: impl FnOnce(Ctx<'_>) + 'static,
    ) -> Result<Self> {
        realm.engine().anchor();
        let stack = DefaultStack::new(STACK_BYTES).context("no memory for a virtual user's stack")?;
        let floor = stack.limit().get() + RESERVE_BYTES;
        let (raw, of) = (realm.raw(), Rc::clone(&user));
        let body = Coroutine::with_stack(stack, move |yielder: &Yielder<Resume, Wait>, _first: Resume| {
            of.set_doorway(Some(Doorway(yielder)));
            // SAFETY: the realm owns the context and outlives this coroutine, which is its thread's field before it;
            // the context is used on this OS thread alone.
            #[expect(unsafe_code, reason = "a context across suspensions, without rquickjs's scoped lock")]
            let ctx = unsafe { Ctx::from_raw(raw) };
            run(ctx);
            of.set_doorway(None);
        });
        let mut thread = Self { body: ManuallyDrop::new(body), user, floor, realm };
        thread.resume(Resume::Go);
        Ok(thread)
    }

    /// Runs the script to its next wait; `None` once it has ended.
    pub(crate) fn resume(&mut self, with: Resume) -> Option<Wait> {
        if self.body.done() {
            return None;
        }
        let before = CURRENT.replace(Some(Rc::clone(&self.user)));
        self.realm.enter(&self.user, self.floor);
        let result = self.body.resume(with);
        self.realm.leave();
        CURRENT.set(before);
        match result {
            CoroutineResult::Yield(wait) => Some(wait),
            CoroutineResult::Return(()) => {
                self.realm.engine().anchor();
                None
            }
        }
    }

    /// Ends the script: whatever it waits for throws.
    pub(crate) fn stop(&mut self) {
        self.user.stopping.set(true);
        // A script cannot catch this; each resume leaves at least one wait.
        for _ in 0..MAX_STOPS {
            if self.resume(Resume::Stop).is_none() {
                return;
            }
        }
    }
}

const MAX_STOPS: usize = 64;

impl Drop for Thread {
    fn drop(&mut self) {
        self.stop();
        if self.body.done() {
            // SAFETY: dropped once, here, and no longer suspended.
            #[expect(unsafe_code, reason = "the one way to drop what may not be dropped by itself")]
            unsafe {
                ManuallyDrop::drop(&mut self.body);
            }
        } else {
            // It still uses its context: both are leaked rather than freed under it.
            std::mem::forget(Rc::clone(&self.realm));
        }
    }
}

/// Makes QuickJS refuse to grow the stack of the running user below `floor`.
pub(super) fn set_stack_floor(runtime: *mut qjs::JSRuntime, floor: usize) {
    let here = 0_u8;
    let top = std::ptr::from_ref(&here).addr();
    // SAFETY: the runtime is alive and used on this thread alone.
    #[expect(unsafe_code, reason = "QuickJS must know the end of each user's stack")]
    unsafe {
        qjs::JS_UpdateStackTop(runtime);
    }
    // QuickJS subtracts the size from the top, so that wrapping is undone.
    // SAFETY: as above.
    #[expect(unsafe_code, reason = "as above")]
    unsafe {
        qjs::JS_SetMaxStackSize(runtime, top.wrapping_sub(floor) as _);
    }
}

/// Runs `f` as a user, without a coroutine: whatever waits is refused.
pub(crate) fn as_user<T>(user: &Rc<User>, f: impl FnOnce() -> T) -> T {
    let before = CURRENT.replace(Some(Rc::clone(user)));
    let result = f();
    CURRENT.set(before);
    result
}

/// The user whose script runs.
///
/// # Errors
/// A JavaScript exception where there is none.
pub(crate) fn current(ctx: &Ctx<'_>) -> rquickjs::Result<Rc<User>> {
    CURRENT.with_borrow(Clone::clone).ok_or_else(|| throw(ctx, "no virtual user is running"))
}

/// Suspends the running user until the driving task has what it waits for. The native function that calls this must be
/// called by a JavaScript function that only returns its result, see [`crate::engine`].
///
/// # Errors
/// A JavaScript exception: the script is not in an iteration, or its time is over.
pub(crate) fn suspend(ctx: &Ctx<'_>, user: &User, wait: Wait) -> rquickjs::Result<Resume> {
    let Some(Doorway(yielder)) = user.doorway() else {
        return Err(throw(ctx, "this cannot be used in the init context"));
    };
    if user.stopping.get() {
        return Err(end_of_time(ctx));
    }
    // SAFETY: the doorway is set by the coroutine that runs this very user, for as long as its body runs.
    #[expect(unsafe_code, reason = "native functions cannot be handed the yielder")]
    let yielder = unsafe { &*yielder };
    match yielder.suspend(wait) {
        Resume::Stop => Err(end_of_time(ctx)),
        resume => Ok(resume),
    }
}

/// An exception that a script cannot catch.
pub(crate) fn end_of_time(ctx: &Ctx<'_>) -> rquickjs::Error {
    let error = throw(ctx, crate::user::STOPPED);
    let value: Value<'_> = ctx.catch();
    // SAFETY: the value belongs to this context.
    #[expect(unsafe_code, reason = "rquickjs has no uncatchable errors")]
    unsafe {
        qjs::JS_SetUncatchableError(ctx.as_raw().as_ptr(), value.as_raw());
    }
    ctx.throw(value);
    error
}
