//! What a context has of JavaScript's own objects. Each costs memory in every user, so that users get those that their
//! sources name; natives that hand out bytes, and modules that come later, add what is missing then.

use rquickjs::context::{Intrinsic, intrinsic};
use rquickjs::{Context, Ctx, Result, Runtime, qjs};

/// Groups of objects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Objects {
    /// ArrayBuffer, its views, Atomics.
    arrays: bool,
    /// Map, Set, and their weak ones.
    maps: bool,
    dates: bool,
    /// Proxy, WeakRef, performance, base64.
    rest: bool,
}

const ARRAYS: &[&str] =
    &["ArrayBuffer", "DataView", "Atomics", "8Array", "8ClampedArray", "16Array", "32Array", "64Array"];
const MAPS: &[&str] = &["Map", "Set"];
const DATES: &[&str] = &["Date"];
const REST: &[&str] =
    &["Proxy", "WeakRef", "FinalizationRegistry", "performance", "atob", "btoa", "DOMException"];
/// What can reach an object without naming it.
const REFLECTION: &[&str] = &["eval", "Function(", "Function ("];

impl Objects {
    pub(crate) const ALL: Self = Self { arrays: true, maps: true, dates: true, rest: true };
    pub(crate) const ARRAYS: Self = Self { arrays: true, maps: false, dates: false, rest: false };

    /// What a source may use.
    pub(crate) fn named_in(text: &str) -> Self {
        let has = |words: &[&str]| words.iter().any(|word| text.contains(word));
        let by_name = text.split("globalThis").skip(1).all(|after| after.starts_with('.'));
        if has(REFLECTION) || !by_name {
            return Self::ALL;
        }
        Self { arrays: has(ARRAYS), maps: has(MAPS), dates: has(DATES), rest: has(REST) }
    }

    pub(crate) fn and(self, other: Self) -> Self {
        Self {
            arrays: self.arrays || other.arrays,
            maps: self.maps || other.maps,
            dates: self.dates || other.dates,
            rest: self.rest || other.rest,
        }
    }

    /// A context with these, and with what every script uses.
    pub(super) fn context(self, runtime: &Runtime) -> Result<Context> {
        use intrinsic::{Eval, Json, Promise, RegExp, RegExpCompiler};
        if self == Self::ALL {
            return Context::full(runtime);
        }
        let context = Context::custom::<(Eval, RegExpCompiler, RegExp, Json, Promise)>(runtime)?;
        context.with(|ctx| Self::default().add(&ctx, self));
        Ok(context)
    }

    /// Adds what is missing from `self` of `wanted`; returns what there is then.
    pub(super) fn add(self, ctx: &Ctx<'_>, wanted: Self) -> Self {
        if wanted.arrays && !self.arrays {
            add::<intrinsic::TypedArrays>(ctx);
        }
        if wanted.maps && !self.maps {
            add::<intrinsic::MapSet>(ctx);
        }
        if wanted.dates && !self.dates {
            add::<intrinsic::Date>(ctx);
        }
        if wanted.rest && !self.rest {
            add::<(intrinsic::Proxy, intrinsic::WeakRef, intrinsic::Performance)>(ctx);
            // SAFETY: the context is alive. Without memory the functions are missing, and the script is told.
            #[expect(unsafe_code, reason = "rquickjs has no name for these")]
            let _added = unsafe { qjs::JS_AddIntrinsicAToB(ctx.as_raw().as_ptr()) };
        }
        self.and(wanted)
    }
}

fn add<I: Intrinsic>(ctx: &Ctx<'_>) {
    // SAFETY: the context is alive and used on this thread alone.
    #[expect(unsafe_code, reason = "rquickjs adds objects to new contexts only")]
    unsafe {
        I::add_intrinsic(ctx.as_raw());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_context_has_what_its_source_names() {
        for (source, ours) in [
            ("typeof Map + typeof Set", "functionfunction"),
            ("typeof Uint8Array", "function"),
            ("typeof Proxy + typeof btoa", "functionfunction"),
            ("const all = globalThis; typeof all['Wea' + 'kMap']", "function"),
            ("typeof globalThis.JSON + /a/.test('a') + new Date(0).getTime()", "objecttrue0"),
        ] {
            let runtime = Runtime::new().unwrap();
            let context = Objects::named_in(source).context(&runtime).unwrap();
            let said: String = context.with(|ctx| ctx.eval(source)).unwrap();
            assert_eq!(said, ours, "{source}");
        }
        let plain = "import http from 'k6/http'; export default () => http.get(`${__ENV.URL}`)";
        assert_eq!(Objects::named_in(plain), Objects::default());
    }

    #[test]
    fn what_is_missing_is_added_once() {
        let runtime = Runtime::new().unwrap();
        let context = Objects::default().context(&runtime).unwrap();
        context.with(|ctx| {
            let has = Objects::default().add(&ctx, Objects::ARRAYS);
            ctx.eval::<(), _>("Uint8Array.mine = 1").unwrap();
            has.add(&ctx, Objects::ARRAYS);
            assert_eq!(ctx.eval::<i32, _>("Uint8Array.mine + new Uint8Array(2).length").unwrap(), 3);
        });
    }
}
