//! Globals of a script, and the hidden object through which k6's modules reach native code.

#![expect(clippy::needless_pass_by_value, reason = "QuickJS hands natives their arguments by value")]

use crate::engine::{Kept, current, normal, throw};
use crate::log::Level;
use crate::user::{Phase, User};
use crate::values::{array_buffer, function, text_of};
use crate::{http, natives};
use rquickjs::function::{Opt, Rest};
use rquickjs::object::{Accessor, Property};
use rquickjs::{Ctx, Function, Object, Result, String as JsString, Value};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

/// Larger files are not opened.
const MAX_FILE_BYTES: u64 = 1 << 30;
/// Longer lines of `console.log` are cut.
const MAX_LINE_BYTES: usize = 16 << 10;
/// The name of the hidden object.
const NATIVE: &str = "__trimtab";

/// Puts everything on a new realm.
pub(crate) fn install<'js>(ctx: &Ctx<'js>, user: &User) -> Result<()> {
    let globals = ctx.globals();
    globals.prop("__VU", Accessor::from(|ctx: Ctx<'js>| current(&ctx).map(|user| user.id)).configurable())?;
    globals.prop("__ITER", Accessor::from(iteration_number).configurable())?;
    let env = Object::new(ctx.clone())?;
    for (name, value) in &user.test.setup.env {
        env.set(name.as_str(), value.as_str())?;
    }
    globals.set("__ENV", env)?;
    let Some(realm) = user.realm() else { return Err(throw(ctx, "no virtual user is running")) };
    let functions = realm.engine().common(ctx, "globals", || functions(ctx))?;
    // A script may put its own functions on its console.
    let console = Object::new(ctx.clone())?;
    for name in CONSOLE.iter().map(|(name, _)| *name) {
        console.set(name, functions.get::<_, Value<'js>>(name)?)?;
    }
    globals.set("console", console)?;
    for name in ["open", "setTimeout", "setInterval", "clearTimeout", "clearInterval"] {
        globals.set(name, functions.get::<_, Value<'js>>(name)?)?;
    }
    if realm.engine().sources.uses_webcrypto() {
        let (get, set) = (web_crypto, |ctx: Ctx<'js>, value: Value<'js>| own_crypto(&ctx, value));
        globals.prop("crypto", Accessor::new(get, set).configurable().enumerable())?;
    }
    let native = realm.engine().common(ctx, "natives", || {
        let native = Object::new(ctx.clone())?;
        natives::install(&native)?;
        Ok(native)
    })?;
    globals.prop(NATIVE, Property::from(native).configurable())?;
    // With forms, each user's own module puts its functions on the prototype.
    let response = if realm.engine().sources.uses_forms() {
        http::prototype(ctx)?
    } else {
        realm.engine().common(ctx, "response", || http::prototype(ctx))?
    };
    realm.keep(ctx, Kept::Response, response.into_value());
    Ok(())
}

const CONSOLE: &[(&str, Level)] = &[
    ("log", Level::Info),
    ("info", Level::Info),
    ("debug", Level::Debug),
    ("warn", Level::Warning),
    ("error", Level::Error),
];

/// Functions that ask for the running user: one of each for all users of a runtime.
fn functions<'js>(ctx: &Ctx<'js>) -> Result<Object<'js>> {
    let all = Object::new(ctx.clone())?;
    for (name, level) in CONSOLE {
        function(ctx, &all, name, move |ctx: Ctx<'js>, values: Rest<Value<'js>>| {
            print(&ctx, *level, &values.0)
        })?;
    }
    function(ctx, &all, "open", open)?;
    function(ctx, &all, "setTimeout", |ctx, f, ms| timer(&ctx, f, &ms, false))?;
    function(ctx, &all, "setInterval", |ctx, f, ms| timer(&ctx, f, &ms, true))?;
    function(ctx, &all, "clearTimeout", clear_timer)?;
    function(ctx, &all, "clearInterval", clear_timer)?;
    Ok(all)
}

/// Made when it is first read: most scripts do not.
fn web_crypto(ctx: Ctx<'_>) -> Result<Value<'_>> {
    let crypto = crate::engine::webcrypto(&ctx)?;
    own_crypto(&ctx, crypto.clone())?;
    Ok(crypto)
}

fn own_crypto<'js>(ctx: &Ctx<'js>, value: Value<'js>) -> Result<()> {
    ctx.globals().prop("crypto", Property::from(value).configurable().enumerable().writable())
}

fn iteration_number(ctx: Ctx<'_>) -> Result<i64> {
    let user = current(&ctx)?;
    let turn = user.turn.borrow();
    Ok(turn.as_ref().map_or(-1, |turn| i64::try_from(turn.of_user).unwrap_or(i64::MAX)))
}

fn print<'js>(ctx: &Ctx<'js>, level: Level, values: &[Value<'js>]) -> Result<()> {
    let mut line = String::new();
    for value in values {
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(&show(ctx, value)?);
    }
    if line.len() > MAX_LINE_BYTES {
        let end = (0..=MAX_LINE_BYTES).rev().find(|at| line.is_char_boundary(*at)).unwrap_or(0);
        line.truncate(end);
        line.push_str(" ...");
    }
    current(ctx)?.test.log.say(level, &line);
    Ok(())
}

fn show<'js>(ctx: &Ctx<'js>, value: &Value<'js>) -> Result<String> {
    if let Some(symbol) = value.as_symbol() {
        return text_of(&symbol.description()?);
    }
    if value.is_object() && !value.is_function() {
        if value.is_error() {
            return Ok(crate::engine::of_value(value).text);
        }
        if let Ok(Some(json)) = ctx.json_stringify(value.clone()) {
            return json.to_string();
        }
        drop(ctx.catch());
    }
    text_of(value)
}

type Ms<'js> = Opt<Value<'js>>;

fn timer<'js>(ctx: &Ctx<'js>, run: Function<'js>, ms: &Ms<'js>, repeats: bool) -> Result<u32> {
    let user = current(ctx)?;
    if user.doorway().is_none() {
        return Err(throw(ctx, "timers cannot be set in the init context"));
    }
    let ms = ms.0.as_ref().and_then(Value::as_number).filter(|ms| ms.is_finite()).unwrap_or(0.0);
    let delay = Duration::from_secs_f64(ms.clamp(0.0, 1e9) / 1e3);
    user.events.borrow_mut().set_timer(ctx, run, delay, repeats)
}

fn clear_timer<'js>(ctx: Ctx<'js>, id: Opt<Value<'js>>) -> Result<()> {
    let id = id.0.as_ref().and_then(Value::as_number).unwrap_or(0.0);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates")]
    current(&ctx)?.events.borrow_mut().clear_timer(id as u32);
    Ok(())
}

/// `open(path, 'b')`: in the init context only; each file is read once for all users.
fn open<'js>(ctx: Ctx<'js>, path: String, mode: Opt<String>) -> Result<Value<'js>> {
    let user = current(&ctx)?;
    if user.phase.get() != Phase::Init {
        return Err(throw(
            &ctx,
            "the \"open\" function is only available in the init stage (i.e. the global scope)",
        ));
    }
    let bytes = read(&user, &place(&ctx, &user, &path))
        .map_err(|why| throw(&ctx, &format!("open(\"{path}\"): {why}")))?;
    if mode.0.as_deref() == Some("b") {
        return array_buffer(&ctx, &bytes);
    }
    Ok(JsString::from_str(ctx, &String::from_utf8_lossy(&bytes))?.into_value())
}

/// Relative to the module that opens.
fn place(ctx: &Ctx<'_>, user: &User, path: &str) -> PathBuf {
    let path = path.strip_prefix("file://").unwrap_or(path);
    let module = ctx.script_or_module_name(1).and_then(|name| name.to_string().ok());
    let folder = module
        .as_deref()
        .filter(|name| name.starts_with('/'))
        .and_then(|name| Path::new(name).parent().map(Path::to_path_buf))
        .unwrap_or_else(|| user.test.setup.folder.clone());
    normal(&folder.join(path))
}

fn read(user: &User, path: &Path) -> std::result::Result<Rc<[u8]>, String> {
    if let Some(known) = user.test.files.borrow().get(path) {
        return Ok(Rc::clone(known));
    }
    let real = std::fs::canonicalize(path).map_err(|error| error.to_string())?;
    let below = &user.test.setup.open_below;
    if !below.is_empty() && !below.iter().any(|folder| real.starts_with(folder)) {
        let folders: Vec<String> = below.iter().map(|folder| folder.display().to_string()).collect();
        return Err(format!(
            "{} lies outside of what scripts may read ({}); allow its folder with --open-below",
            real.display(),
            folders.join(", ")
        ));
    }
    let known = std::fs::metadata(&real).map_err(|error| error.to_string())?;
    if !known.is_file() {
        return Err("it is no file".to_owned());
    }
    if known.len() > MAX_FILE_BYTES {
        return Err(format!("it is longer than {MAX_FILE_BYTES} bytes"));
    }
    let bytes: Rc<[u8]> = std::fs::read(&real).map_err(|error| error.to_string())?.into();
    user.test.files.borrow_mut().insert(path.to_path_buf(), Rc::clone(&bytes));
    Ok(bytes)
}
