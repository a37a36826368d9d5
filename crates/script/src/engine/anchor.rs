//! A coroutine whose JavaScript frame is the outermost of its runtime: what QuickJS may look at when no user's frame is
//! alive. It does nothing but wait.

use super::coroutine::set_stack_floor;
use anyhow::{Context as _, Result};
use corosensei::stack::{DefaultStack, Stack};
use corosensei::{Coroutine, Yielder};
use rquickjs::context::{EvalOptions, intrinsic};
use rquickjs::{Context, Ctx, Function, Runtime, qjs};
use std::mem::ManuallyDrop;

const STACK_BYTES: usize = 128 << 10;
const RESERVE_BYTES: usize = 64 << 10;
/// Natives have no frame in QuickJS: the inner function's return makes the loop's frame the innermost one.
const LOOP: &str = "(pause) => { const inner = () => pause(); while (inner()) {} }";

#[derive(Clone, Copy, PartialEq, Eq)]
enum Turn {
    Again,
    End,
}

pub(super) struct Anchor {
    body: ManuallyDrop<Coroutine<Turn, (), (), DefaultStack>>,
    floor: usize,
    runtime: *mut qjs::JSRuntime,
    // Dropped after the body, which uses it.
    _context: Context,
}

impl Anchor {
    /// Must be the first to run anything in its runtime.
    pub(super) fn new(runtime: &Runtime) -> Result<Self> {
        let context =
            Context::custom::<intrinsic::Eval>(runtime).ok().context("no memory for a JavaScript runtime")?;
        let stack = DefaultStack::new(STACK_BYTES).context("no memory for a stack")?;
        let floor = stack.limit().get() + RESERVE_BYTES;
        let raw = context.as_raw();
        let body = Coroutine::with_stack(stack, move |yielder: &Yielder<Turn, ()>, _first: Turn| {
            // SAFETY: the context is the anchor's and outlives the coroutine.
            #[expect(unsafe_code, reason = "a context across suspensions, without rquickjs's scoped lock")]
            let ctx = unsafe { Ctx::from_raw(raw) };
            // Without memory for a loop there is no anchor; every later allocation fails likewise, and is told.
            let _entered: Option<()> = enter(&ctx, yielder);
        });
        // SAFETY: the context is alive.
        #[expect(unsafe_code, reason = "the runtime is told of each switch")]
        let runtime = unsafe { qjs::JS_GetRuntime(context.as_raw().as_ptr()) };
        let mut anchor = Self { body: ManuallyDrop::new(body), floor, runtime, _context: context };
        anchor.resume(Turn::Again);
        Ok(anchor)
    }

    /// Its frame becomes the innermost one.
    pub(super) fn touch(&mut self) {
        self.resume(Turn::Again);
    }

    fn resume(&mut self, turn: Turn) {
        if !self.body.done() {
            set_stack_floor(self.runtime, self.floor);
            let _suspended = self.body.resume(turn);
        }
    }
}

impl Drop for Anchor {
    fn drop(&mut self) {
        self.resume(Turn::End);
        if self.body.done() {
            // SAFETY: dropped once, here, and no longer suspended.
            #[expect(unsafe_code, reason = "the one way to drop what may not be dropped by itself")]
            unsafe {
                ManuallyDrop::drop(&mut self.body);
            }
        }
    }
}

fn enter(ctx: &Ctx<'_>, yielder: &Yielder<Turn, ()>) -> Option<()> {
    let mut options = EvalOptions::default();
    options.backtrace_barrier = true;
    let run: Function<'_> = ctx.eval_with_options(LOOP, options).ok()?;
    let door = std::ptr::from_ref(yielder);
    let pause = Function::new(ctx.clone(), move || {
        // SAFETY: the yielder is alive while the loop runs, and the loop alone has this function.
        #[expect(unsafe_code, reason = "native functions cannot borrow the yielder")]
        let yielder = unsafe { &*door };
        yielder.suspend(()) == Turn::Again
    })
    .ok()?;
    run.call::<_, ()>((pause,)).ok()
}
