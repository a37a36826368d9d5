//! Modules by name: k6's own, offline versions of jslib's, and local files. Each source is compiled once and then
//! loaded from bytecode. Nothing is fetched.

use super::Objects;
use super::realm::ensure;
use crate::builtin;
use crate::syntax;
use rquickjs::loader::{ImportAttributes, Loader, Resolver};
use rquickjs::module::{Declared, WriteOptions};
use rquickjs::{Ctx, Error, Module, Result};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};
use std::rc::Rc;

/// Files of one script.
const MAX_MODULES: usize = 2_000;
/// A source file that is longer is refused.
const MAX_SOURCE_BYTES: u64 = 32 << 20;
/// Tried in this order where a local module is named without its extension.
const EXTENSIONS: &[&str] = &["js", "ts", "mjs"];

/// All sources of a test.
pub(crate) struct Sources {
    entry: String,
    entry_text: Option<String>,
    compiled: RefCell<BTreeMap<String, Rc<[u8]>>>,
    /// Texts of local files as JavaScript, for messages.
    texts: RefCell<BTreeMap<String, Rc<str>>>,
    /// Why an import or a file was refused, in one line.
    refused: RefCell<Option<String>>,
    uses_promises: Cell<bool>,
    uses_forms: Cell<bool>,
    uses_webcrypto: Cell<bool>,
    objects: Cell<Objects>,
    /// All modules were loaded once.
    known: Cell<bool>,
}

impl Sources {
    /// `entry`: the script's file, with its text where it came from elsewhere (standard input).
    pub(crate) fn new(entry: &Path, text: Option<String>) -> Rc<Self> {
        Rc::new(Self {
            entry: normal(entry).to_string_lossy().into_owned(),
            entry_text: text,
            compiled: RefCell::default(),
            texts: RefCell::default(),
            refused: RefCell::default(),
            uses_promises: Cell::new(false),
            uses_forms: Cell::new(false),
            uses_webcrypto: Cell::new(false),
            objects: Cell::default(),
            known: Cell::new(false),
        })
    }

    pub(crate) fn entry(&self) -> &str {
        &self.entry
    }

    pub(crate) fn folder(&self) -> PathBuf {
        Path::new(&self.entry).parent().map_or_else(PathBuf::new, Path::to_path_buf)
    }

    pub(crate) fn refused(&self) -> Option<String> {
        self.refused.borrow().clone()
    }

    /// Whether a script waits by promises: its jobs would run among those of other users of the same runtime.
    pub(crate) fn uses_promises(&self) -> bool {
        self.uses_promises.get()
    }

    /// Whether a script may read a response as HTML.
    pub(crate) fn uses_forms(&self) -> bool {
        self.uses_forms.get()
    }

    /// Whether a script may use the global `crypto`; until all modules were loaded once it may.
    pub(crate) fn uses_webcrypto(&self) -> bool {
        !self.known.get() || self.uses_webcrypto.get()
    }

    /// What a context needs for these sources; everything until all modules were loaded once.
    pub(crate) fn objects(&self) -> Objects {
        if self.known.get() { self.objects.get() } else { Objects::ALL }
    }

    /// All modules were loaded once.
    pub(crate) fn settle(&self) {
        self.known.set(true);
    }

    fn refuse(&self, base: &str, name: &str, why: String) -> Error {
        self.refused.borrow_mut().get_or_insert_with(|| why.clone());
        Error::new_resolving_message(base, name, why)
    }

    fn resolve_name(&self, base: &str, name: &str) -> std::result::Result<String, String> {
        if builtin::source(name).is_some() {
            return Ok(name.to_owned());
        }
        if let Some(known) = builtin::offline(name) {
            return Ok(known.to_owned());
        }
        let local = name.strip_prefix("file://").unwrap_or(name);
        if local.starts_with('.') || local.starts_with('/') {
            let from = Path::new(base).parent().unwrap_or(Path::new("/"));
            return self.find_file(&normal(&from.join(local)));
        }
        Err(builtin::why_unsupported(name))
    }

    fn find_file(&self, path: &Path) -> std::result::Result<String, String> {
        let text = path.to_string_lossy().into_owned();
        if (text == self.entry && self.entry_text.is_some()) || path.is_file() {
            return Ok(text);
        }
        let tried = EXTENSIONS.iter().map(|extension| PathBuf::from(format!("{text}.{extension}")));
        let found = tried.chain([path.join("index.js"), path.join("index.ts")]).find(|path| path.is_file());
        found
            .map(|path| path.to_string_lossy().into_owned())
            .ok_or_else(|| format!("there is no file {text}"))
    }

    fn read(&self, name: &str) -> std::result::Result<String, String> {
        if name == self.entry
            && let Some(text) = &self.entry_text
        {
            return Ok(text.clone());
        }
        let length = std::fs::metadata(name).map_err(|error| format!("reading {name}: {error}"))?.len();
        if length > MAX_SOURCE_BYTES {
            return Err(format!("{name} is longer than {MAX_SOURCE_BYTES} bytes"));
        }
        let bytes = std::fs::read(name).map_err(|error| format!("reading {name}: {error}"))?;
        String::from_utf8(bytes).map_err(|_| format!("{name} is no UTF-8 text"))
    }

    /// JavaScript of a module, and whether it is a user's.
    fn javascript(&self, name: &str) -> std::result::Result<String, String> {
        if let Some(source) = builtin::source(name) {
            self.objects.set(self.objects.get().and(Objects::named_in(source)));
            return Ok(source.to_owned());
        }
        let text = self.read(name)?;
        let script = if name.ends_with(".ts") || name.ends_with(".mts") {
            crate::typescript::erase(name, &text)?
        } else {
            text
        };
        self.objects.set(self.objects.get().and(Objects::named_in(&script)));
        if ["async", "await", "Promise", ".then(", "setTimeout", "setInterval"]
            .iter()
            .any(|word| script.contains(word))
        {
            self.uses_promises.set(true);
        }
        if ["html", "submitForm", "clickLink"].iter().any(|word| script.contains(word)) {
            self.uses_forms.set(true);
        }
        if script.contains("crypto.") || script.contains("globalThis") {
            self.uses_webcrypto.set(true);
        }
        self.texts.borrow_mut().insert(name.to_owned(), script.as_str().into());
        Ok(script)
    }

    /// A place's line in a script with a caret under it, on lines of their own; empty where it is not known.
    pub(crate) fn caret(&self, place: &str) -> String {
        syntax::caret(place, |file| self.texts.borrow().get(file).cloned()).unwrap_or_default()
    }

    /// An exception's place, with the line and a caret under it.
    pub(crate) fn explain(&self, raised: &super::Raised) -> String {
        syntax::explain(raised, |file| self.texts.borrow().get(file).cloned())
    }

    fn compile<'js>(&self, ctx: &Ctx<'js>, name: &str) -> Result<Module<'js, Declared>> {
        if self.compiled.borrow().len() >= MAX_MODULES {
            return Err(self.refuse("", name, format!("more than {MAX_MODULES} modules")));
        }
        let script = self.javascript(name).map_err(|why| self.refuse("", name, why))?;
        let module = Module::declare(ctx.clone(), name, script)?;
        // Each user has its own copy.
        let strip_debug = builtin::source(name).is_some();
        let options = WriteOptions { strip_source: true, strip_debug, ..WriteOptions::default() };
        let bytes = module.write(options)?;
        self.compiled.borrow_mut().insert(name.to_owned(), bytes.into());
        Ok(module)
    }
}

/// The sources as QuickJS asks for them.
pub(super) struct Shelf(pub(super) Rc<Sources>);

impl Resolver for Shelf {
    fn resolve<'js>(
        &mut self,
        _ctx: &Ctx<'js>,
        base: &str,
        name: &str,
        _attributes: Option<ImportAttributes<'js>>,
    ) -> Result<String> {
        if base.is_empty() || name == self.0.entry {
            return Ok(name.to_owned());
        }
        self.0.resolve_name(base, name).map_err(|why| {
            let text = self.0.texts.borrow().get(base).cloned();
            let line = text.and_then(|text| syntax::line_of_import(&text, name));
            let place = line.map_or_else(|| base.to_owned(), |line| format!("{base}:{line}"));
            self.0.refuse(base, name, format!("{place}: cannot import \"{name}\": {why}"))
        })
    }
}

impl Loader for Shelf {
    fn load<'js>(
        &mut self,
        ctx: &Ctx<'js>,
        name: &str,
        _attributes: Option<ImportAttributes<'js>>,
    ) -> Result<Module<'js, Declared>> {
        let known = self.0.compiled.borrow().get(name).cloned();
        let Some(bytes) = known else {
            let module = self.0.compile(ctx, name)?;
            ensure(ctx, self.0.objects())?;
            return Ok(module);
        };
        ensure(ctx, self.0.objects())?;
        // SAFETY: QuickJS of this process wrote the bytes, and they live as long as the loader, thus the runtime.
        #[expect(unsafe_code, reason = "a script is compiled once for all users")]
        unsafe {
            Module::load(ctx.clone(), &bytes)
        }
    }
}

/// Without `.` and `..`, links left as they are.
pub(crate) fn normal(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => drop(out.pop()),
            other => out.push(other),
        }
    }
    out
}
