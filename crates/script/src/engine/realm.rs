//! A QuickJS runtime and the contexts in it: bounds of memory and time, globals, and the script's exports.

use super::Objects;
use super::anchor::Anchor;
use super::coroutine::set_stack_floor;
use super::modules::{Shelf, Sources};
use super::{Raised, raised};
use crate::globals;
use crate::user::User;
use rquickjs::{Context, Ctx, Module, Object, Persistent, Promise, Runtime, Value, qjs};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::ptr::NonNull;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// Stack for code outside a coroutine: loading modules, setup, handleSummary.
const INIT_STACK_BYTES: usize = 1 << 20;
/// The module of the global `crypto`.
const WEBCRYPTO: &str = "k6/experimental/webcrypto";
/// What adds `html`, `submitForm` and `clickLink` to responses.
const FORMS: &str = "trimtab/forms";
/// Collections of cycles begin when so much was allocated anew.
const GC_BYTES: usize = 4 << 20;

/// One QuickJS runtime; all its users share atoms and shapes.
pub(crate) struct Engine {
    runtime: Runtime,
    raw: Cell<*mut qjs::JSRuntime>,
    deadline: Rc<Cell<Option<Instant>>>,
    anchor: RefCell<Option<Anchor>>,
    /// Objects of natives that all its users have in common.
    common: RefCell<BTreeMap<&'static str, Persistent<Object<'static>>>>,
    // After the runtime, which reads bytecode in it.
    pub(crate) sources: Rc<Sources>,
}

impl Drop for Engine {
    fn drop(&mut self) {
        // No user is left: they hold the engine.
        self.common.borrow_mut().clear();
        self.anchor.borrow_mut().take();
    }
}

impl Engine {
    /// `memory_bytes`: what all its users may hold together.
    pub(crate) fn new(sources: Rc<Sources>, memory_bytes: usize) -> anyhow::Result<Rc<Self>> {
        // The first frame of all is the anchor's.
        let runtime = Runtime::new().map_err(|_| anyhow::anyhow!("no memory for a JavaScript runtime"))?;
        runtime.set_memory_limit(memory_bytes);
        runtime.set_max_stack_size(INIT_STACK_BYTES);
        runtime.set_gc_threshold(GC_BYTES);
        runtime.set_loader(Shelf(Rc::clone(&sources)), Shelf(Rc::clone(&sources)));
        let deadline = Rc::new(Cell::new(None::<Instant>));
        let end = Rc::clone(&deadline);
        runtime
            .set_interrupt_handler(Some(Box::new(move || end.get().is_some_and(|end| Instant::now() > end))));
        runtime.set_host_promise_rejection_tracker(Some(Box::new(|ctx, promise, reason, is_handled| {
            if let Ok(user) = super::current(&ctx) {
                let why = (!is_handled).then(|| super::of_value(&reason));
                user.events.borrow_mut().rejection(&ctx, promise, why);
            }
        })));
        let anchor = RefCell::new(Some(Anchor::new(&runtime)?));
        Ok(Rc::new(Self {
            runtime,
            raw: Cell::new(std::ptr::null_mut()),
            deadline,
            anchor,
            common: RefCell::default(),
            sources,
        }))
    }

    /// What its users may hold together from now on.
    pub(crate) fn allow(&self, memory_bytes: usize) {
        self.runtime.set_memory_limit(memory_bytes);
    }

    /// Makes the anchor's frame the innermost one.
    pub(super) fn anchor(&self) {
        if let Some(anchor) = self.anchor.borrow_mut().as_mut() {
            anchor.touch();
        }
    }

    /// An object without anything of one user, made once for all of this runtime.
    pub(crate) fn common<'js>(
        &self,
        ctx: &Ctx<'js>,
        name: &'static str,
        make: impl FnOnce() -> rquickjs::Result<Object<'js>>,
    ) -> rquickjs::Result<Object<'js>> {
        let known = self.common.borrow().get(name).cloned();
        if let Some(known) = known {
            return known.restore(ctx);
        }
        let made = make()?;
        self.common.borrow_mut().insert(name, Persistent::save(ctx, made.clone()));
        Ok(made)
    }

    /// Runs `f` under a time limit, outside any coroutine.
    pub(crate) fn limited<T>(&self, limit: Duration, f: impl FnOnce() -> T) -> T {
        self.deadline.set(Some(Instant::now() + limit));
        let result = f();
        self.deadline.set(None);
        result
    }
}

/// Values that a realm keeps for native code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kept {
    /// The namespace of the script's module.
    Script,
    Response,
    /// What `setup` returned, for this user.
    SetupData,
    /// What the function of this turn returned, a promise or its value.
    Returned,
}

/// One user's globals and module instances.
pub(crate) struct Realm {
    kept: RefCell<BTreeMap<Kept, Persistent<Value<'static>>>>,
    objects: Cell<Objects>,
    context: Context,
    engine: Rc<Engine>,
}

impl Realm {
    /// An empty realm with k6's globals.
    pub(crate) fn new(engine: &Rc<Engine>, user: &Rc<User>) -> anyhow::Result<Rc<Self>> {
        let objects = engine.sources.objects();
        let context =
            objects.context(&engine.runtime).map_err(|_| anyhow::anyhow!("no memory for a virtual user"))?;
        let realm = Rc::new(Self {
            kept: RefCell::default(),
            objects: Cell::new(objects),
            context,
            engine: Rc::clone(engine),
        });
        user.set_realm(&realm);
        let made = realm.with(user, |ctx| {
            engine.raw.set(runtime_of(ctx));
            globals::install(ctx, user).map_err(|error| raised(ctx, &error))
        });
        made.map_err(|raised| anyhow::anyhow!("globals: {raised}"))?;
        Ok(realm)
    }

    /// Evaluates the script and all that it imports; keeps its exports.
    pub(crate) fn load(&self, user: &Rc<User>) -> Result<(), Raised> {
        let entry = self.engine.sources.entry().to_owned();
        self.with(user, |ctx| {
            let namespace = import(ctx, &entry).map_err(|error| raised(ctx, &error))?;
            self.keep(ctx, Kept::Script, namespace.into_value());
            if self.engine.sources.uses_forms() {
                import(ctx, FORMS).map_err(|error| raised(ctx, &error))?;
            }
            Ok(())
        })
    }

    /// Runs `f` as this user, outside a coroutine.
    pub(crate) fn with<T>(&self, user: &Rc<User>, f: impl FnOnce(&Ctx<'_>) -> T) -> T {
        super::coroutine::as_user(user, || {
            self.engine.runtime.set_max_stack_size(INIT_STACK_BYTES);
            self.context.with(|ctx| f(&ctx))
        })
    }

    pub(crate) fn engine(&self) -> &Rc<Engine> {
        &self.engine
    }

    pub(super) fn raw(&self) -> NonNull<qjs::JSContext> {
        self.context.as_raw()
    }

    pub(super) fn enter(&self, user: &User, floor: usize) {
        set_stack_floor(self.engine.raw.get(), floor);
        let slice = Instant::now() + user.test.setup.slice_limit;
        self.engine.deadline.set(Some(user.ends.get().map_or(slice, |ends| ends.min(slice))));
    }

    pub(super) fn leave(&self) {
        self.engine.deadline.set(None);
    }

    pub(crate) fn keep<'js>(&self, ctx: &Ctx<'js>, which: Kept, value: Value<'js>) {
        self.kept.borrow_mut().insert(which, Persistent::save(ctx, value));
    }

    pub(crate) fn kept<'js>(&self, ctx: &Ctx<'js>, which: Kept) -> rquickjs::Result<Value<'js>> {
        let kept = self.kept.borrow().get(&which).cloned();
        match kept {
            Some(kept) => kept.restore(ctx),
            None => Ok(Value::new_undefined(ctx.clone())),
        }
    }
}

impl Drop for Realm {
    fn drop(&mut self) {
        // Before their context.
        self.kept.borrow_mut().clear();
    }
}

/// Adds objects of JavaScript's own to the running user's realm that it has not yet.
pub(crate) fn ensure(ctx: &Ctx<'_>, wanted: Objects) -> rquickjs::Result<()> {
    if let Some(realm) = super::current(ctx)?.realm() {
        realm.objects.set(realm.objects.get().add(ctx, wanted));
    }
    Ok(())
}

/// An object that the running user's realm keeps.
pub(crate) fn proto<'js>(ctx: &Ctx<'js>, user: &User, which: Kept) -> rquickjs::Result<Object<'js>> {
    let realm = user.realm().ok_or_else(|| super::throw(ctx, "no virtual user is running"))?;
    realm.kept(ctx, which)?.into_object().ok_or_else(|| super::throw(ctx, "the script is not loaded"))
}

/// Imports a module and waits for its top-level awaits, as far as they can be resolved at once.
fn import<'js>(ctx: &Ctx<'js>, name: &str) -> rquickjs::Result<Object<'js>> {
    let promise: Promise<'js> = Module::import(ctx, name)?;
    promise.finish()
}

/// WebCrypto's `crypto` for the running user.
pub(crate) fn webcrypto<'js>(ctx: &Ctx<'js>) -> rquickjs::Result<Value<'js>> {
    import(ctx, WEBCRYPTO)?.get("crypto")
}

fn runtime_of(ctx: &Ctx<'_>) -> *mut qjs::JSRuntime {
    // SAFETY: the context is alive.
    #[expect(unsafe_code, reason = "the runtime is asked for its stack at each switch")]
    unsafe {
        qjs::JS_GetRuntime(ctx.as_raw().as_ptr())
    }
}
