//! What functions are by their names: the service's own, an interpreter's or library's, codecs, collectors, locks,
//! loops. Names of runtimes and libraries only; nothing of any service.

use model::{CodeFrame, CodeKind, is_library_path, plain_name};

/// Modules of machine code that are nobody's own.
const FOREIGN_MODULES: &[&str] = &[
    "libc.so",
    "libc-",
    "libpthread",
    "ld-linux",
    "libstdc++",
    "libm.so",
    "libm-",
    "libpython",
    "libssl",
    "libcrypto",
    "libuv",
    "linux-vdso",
    "[vdso]",
];
/// Programs that run other code: their own functions are an interpreter's.
const INTERPRETERS: &[&str] = &["python", "node", "ruby", "java", "php", "perl", "beam.smp", "dotnet"];
const FOREIGN_PREFIXES: &[&str] = &[
    "std::",
    "core::",
    "alloc::",
    "<core::",
    "<alloc::",
    "<std::",
    "__rust",
    "rust_begin",
    "v8::",
    "node::",
    "uv_",
    "uv__",
    "__libc",
    "__mem",
    "__str",
    "__GI_",
    "tokio::",
    "<tokio::",
    "hyper::",
    "<hyper::",
    "hyper_util::",
    "<hyper_util::",
    "axum::",
    "<axum::",
    "tower::",
    "<tower::",
    "futures_util::",
    "<futures_util::",
    "futures_core::",
    "tracing::",
    "<tracing::",
    "hashbrown::",
    "<hashbrown::",
    "serde::",
    "<serde::",
    "serde_json::",
    "<serde_json::",
    "runtime.",
    "net/http.",
    "internal/",
    "reflect.",
    "<[",
    "<&[",
    "<str ",
    "encoding/",
    "[",
];
const FOREIGN_NAMES: &[&str] = &[
    "memcpy",
    "memmove",
    "memset",
    "memcmp",
    "memchr",
    "bcmp",
    "strcmp",
    "strncmp",
    "strlen",
    "malloc",
    "free",
    "realloc",
    "calloc",
    "cfree",
    "_start",
    "clone3",
    "start_thread",
];

/// Whether a frame is the service's own code, as far as its name and file tell.
pub(super) fn is_own(frame: &CodeFrame) -> bool {
    match frame.kind {
        CodeKind::Kernel | CodeKind::Label | CodeKind::Threads => false,
        CodeKind::Python | CodeKind::JavaScript => !frame.file.is_empty() && !is_library_path(&frame.file),
        CodeKind::Native => {
            let module = frame.module.rsplit('/').next().unwrap_or("");
            let foreign = FOREIGN_MODULES.iter().any(|m| module.starts_with(m))
                || INTERPRETERS.iter().any(|m| module.starts_with(m))
                || is_library_path(&frame.file)
                || FOREIGN_PREFIXES.iter().any(|p| frame.function.starts_with(p))
                || FOREIGN_NAMES.contains(&frame.function.as_str())
                || frame.function == module;
            !foreign && !frame.function.is_empty()
        }
    }
}

/// Whether a program begins with it: a Python script's own lines, `main`.
pub(super) fn is_start(frame: &CodeFrame) -> bool {
    let function = plain_name(&frame.function);
    match frame.kind {
        CodeKind::Python => function == "<module>",
        CodeKind::Native => {
            function == "main"
                || function == "main.main"
                || function.ends_with("::main")
                || function.contains("::main::{")
        }
        CodeKind::JavaScript | CodeKind::Kernel | CodeKind::Label | CodeKind::Threads => false,
    }
}

/// Words of a function's name and file, lower case: `JsonSerializer.to_json` has `json` and `serializer`.
fn words(text: &str) -> impl Iterator<Item = String> {
    let mut out = Vec::new();
    for part in text.split(|c: char| !c.is_ascii_alphanumeric()).filter(|p| !p.is_empty()) {
        out.push(part.to_ascii_lowercase());
        let mut word = String::new();
        for c in part.chars() {
            let begins =
                c.is_ascii_uppercase() && word.chars().last().is_some_and(|p| p.is_ascii_lowercase());
            if begins {
                out.push(std::mem::take(&mut word).to_ascii_lowercase());
            }
            word.push(c);
        }
        out.push(word.to_ascii_lowercase());
    }
    out.into_iter()
}

fn has_word(text: &str, list: &[&str]) -> bool {
    words(text).any(|word| list.contains(&word.as_str()))
}

const CODECS: &[&str] = &[
    "serialize",
    "serializer",
    "serialization",
    "deserialize",
    "deserializer",
    "serialise",
    "deserialise",
    "marshal",
    "unmarshal",
    "marshaler",
    "json",
    "tojson",
    "jsonify",
    "stringify",
    "jsonparser",
    "jsonstringify",
    "jsonstringifier",
    "protobuf",
    "prost",
    "msgpack",
    "rmp",
    "orjson",
    "ujson",
    "simdjson",
    "bincode",
    "cbor",
    "ciborium",
    "yaml",
    "pickle",
    "iterencode",
    "jackson",
    "gson",
    "serde",
    "pydantic",
    "marshmallow",
];

/// Turns data into text or bytes, or back.
pub(super) fn is_codec(frame: &CodeFrame) -> bool {
    let library =
        ["/json/", "/serde_json", "/rmp", "/prost", "/pickle", "/marshmallow/", "/pydantic", "_json."];
    frame.kind != CodeKind::Label
        && frame.kind != CodeKind::Threads
        && (has_word(&plain_name(&frame.function), CODECS)
            || library.iter().any(|part| frame.file.contains(part) || frame.module.contains(part)))
}

/// Frees memory that nobody refers to any more.
pub(super) fn is_collector(frame: &CodeFrame) -> bool {
    const PARTS: &[&str] = &[
        "gc_collect",
        "_PyGC_",
        "gc_mark",
        "gcBgMarkWorker",
        "gcDrain",
        "gcAssistAlloc",
        "scanobject",
        "runtime.mallocgc_gc",
        "MarkCompact",
        "Scavenge",
        "v8::internal::Heap::",
        "v8::internal::Mark",
        "v8::internal::Sweeper",
        "G1",
        "ParallelGC",
        "rb_gc",
        "gc_sweep",
        "gc_start",
        "ConcurrentMark",
    ];
    match frame.kind {
        CodeKind::Native => PARTS.iter().any(|part| frame.function.contains(part)),
        CodeKind::JavaScript => frame.function == "(garbage collector)",
        CodeKind::Python => {
            frame.function == "gc.collect" || frame.function == "collect" && frame.file.ends_with("gc.py")
        }
        _ => false,
    }
}

/// Compares one element after the other.
pub(super) fn is_comparison(frame: &CodeFrame) -> bool {
    const PARTS: &[&str] = &[
        "memcmp",
        "bcmp",
        "strcmp",
        "::contains",
        "PartialEq",
        "::eq",
        "cmp::Ord",
        "list_contains",
        "PySequence_Contains",
        "sequence_contains",
        "tuplecontains",
        "object_richcompare",
        "RichCompare",
        "unicode_eq",
        "long_richcompare",
        "slice_contains",
        "ArrayPrototypeIncludes",
        "ArrayIncludes",
        "ArrayIndexOf",
        "Builtins_ArrayIncludes",
        "Builtins_ArrayIndexOf",
        "SliceContains",
        "StringEqual",
        "position",
    ];
    const WHOLE: &[&str] = &[
        "includes",
        "indexOf",
        "findIndex",
        "find",
        "some",
        "__eq__",
        "__contains__",
        "index",
        "slices.Contains",
        "slices.Index",
        "lastIndexOf",
    ];
    let function = plain_name(&frame.function);
    let name = function.rsplit(['.', ' ']).next().unwrap_or("");
    match frame.kind {
        CodeKind::Label | CodeKind::Threads | CodeKind::Kernel => false,
        _ => {
            PARTS.iter().any(|part| function.contains(part))
                || WHOLE.contains(&name)
                || WHOLE.contains(&function.as_ref())
        }
    }
}

/// Takes a lock that another thread may hold. A wait for work, as of a pool's idle threads, is none.
pub(super) fn takes_lock(frame: &CodeFrame) -> bool {
    const PARTS: &[&str] = &[
        "lll_lock_wait",
        "pthread_mutex_lock",
        "pthread_mutex_cond_lock",
        "pthread_rwlock_wrlock",
        "pthread_rwlock_rdlock",
        "lock_contended",
        "lock_slow",
        "lock_shared_slow",
        "lock_exclusive_slow",
        "write_contended",
        "read_contended",
        "sync.(*Mutex).Lock",
        "sync.(*RWMutex)",
        "ObjectMonitor::enter",
        "rb_mutex_lock",
        "std::sync::Mutex",
        "std::mutex::lock",
    ];
    frame.kind == CodeKind::Native && PARTS.iter().any(|part| frame.function.contains(part))
}

/// A wait for something to do.
pub(super) fn waits_for_work(frame: &CodeFrame) -> bool {
    const PARTS: &[&str] = &[
        "pthread_cond_wait",
        "pthread_cond_timedwait",
        "Condvar",
        "condvar",
        "thread::park",
        "Parker",
        "park_timeout",
        "park_condvar",
        "park_driver",
        "sem_wait",
        "uv_cond_wait",
        "uv_sem_wait",
        "epoll_wait",
        "epoll_pwait",
        "poll_wait",
        "runtime.gopark",
        "notesleep",
        "sigwait",
        "accept",
        "WaitForWork",
        "worker_thread",
        "BlockingTask",
        "blocking::pool::Inner::run",
        "idle",
    ];
    const PYTHON: &[&str] = &[
        "select",
        "accept",
        "get_request",
        "serve_forever",
        "wait",
        "_wait_for_tstate_lock",
        "get",
        "poll",
        "_worker",
        "run_forever_wait",
        "readinto",
        "handle_one_request",
    ];
    match frame.kind {
        CodeKind::Native | CodeKind::Kernel => PARTS.iter().any(|part| frame.function.contains(part)),
        CodeKind::Python => PYTHON.contains(&frame.function.as_str()) && is_library_path(&frame.file),
        _ => false,
    }
}

/// A thread's loop that serves many requests by turns: what blocks below it blocks them all.
pub(super) fn is_event_loop(frame: &CodeFrame) -> Option<&'static str> {
    const NATIVE: &[(&str, &str)] = &[
        ("uv_run", "event loop"),
        ("node::SpinEventLoop", "event loop"),
        ("scheduler::multi_thread::worker", "async worker"),
        ("scheduler::current_thread", "async worker"),
        ("actix_rt", "async worker"),
        ("ngx_worker_process_cycle", "event loop"),
        ("boost::asio::detail::scheduler::run", "event loop"),
        ("aeMain", "event loop"),
    ];
    const PYTHON: &[(&str, &str)] = &[
        ("_run_once", "asyncio/"),
        ("run_forever", "asyncio/"),
        ("run", "gevent/"),
        ("start", "tornado/ioloop"),
    ];
    match frame.kind {
        CodeKind::Native => {
            NATIVE.iter().find(|(part, _)| frame.function.contains(part)).map(|(_, word)| *word)
        }
        CodeKind::Python => PYTHON
            .iter()
            .any(|(name, file)| frame.function == *name && frame.file.contains(file))
            .then_some("event loop"),
        _ => None,
    }
}

/// An async runtime's own pool for calls that may block: waiting there hurts nobody.
pub(super) fn is_blocking_pool(frame: &CodeFrame) -> bool {
    frame.function.contains("runtime::blocking")
        || frame.function.contains("uv__worker")
        || frame.function.contains("worker(void*)")
        || frame.function.contains("concurrent/futures")
}

/// What a wait's label says: `[waits: sleep]` is a sleep. `None` for waits for events, the loop's own.
pub(super) fn blocking_wait(frame: &CodeFrame) -> Option<&str> {
    let what = frame.function.strip_prefix("[waits: ")?.strip_suffix(']')?;
    let idle = ["epoll", "poll", "select", "accept", "signal", "io_uring"];
    (!idle.iter().any(|word| what.contains(word))).then_some(what)
}

#[cfg(test)]
mod tests {
    use super::{is_codec, is_comparison, is_own};
    use model::{CodeFrame, CodeKind};

    fn frame(kind: CodeKind, function: &str, module: &str, file: &str) -> CodeFrame {
        CodeFrame { kind, function: function.into(), module: module.into(), file: file.into(), line: 1 }
    }

    #[test]
    fn generic_arguments_make_no_kind() {
        let frame = |function: &str| CodeFrame { function: function.into(), ..CodeFrame::default() };
        assert!(!is_codec(&frame("poll<axum::json::Json<T>>")));
        assert!(is_codec(&frame("<axum::json::Json<T> as IntoResponse>::into_response")));
        assert!(!is_comparison(&frame("call_once<core::slice::cmp::slice_contains::{closure_env#0}<T>>")));
    }

    #[test]
    fn libraries_and_interpreters_are_not_the_services_own() {
        assert!(is_own(&frame(CodeKind::Python, "report", "", "/srv/app.py")));
        assert!(!is_own(&frame(CodeKind::Python, "dispatch", "", "/x/site-packages/flask/app.py")));
        assert!(is_own(&frame(CodeKind::Native, "shop::report::build", "/srv/shop", "shop/src/report.rs")));
        assert!(!is_own(&frame(CodeKind::Native, "_PyEval_EvalFrameDefault", "/usr/bin/python3.11", "")));
        assert!(!is_own(&frame(CodeKind::Native, "__memcmp_avx2", "/lib/libc.so.6", "")));
        assert!(!is_own(&frame(CodeKind::Label, "[waits: epoll]", "", "")));
    }

    #[test]
    fn codecs_and_comparisons_are_told_by_words() {
        assert!(is_codec(&frame(CodeKind::JavaScript, "JSON.stringify", "", "")));
        assert!(is_codec(&frame(CodeKind::Native, "serde_json::ser::to_string", "", "")));
        assert!(!is_codec(&frame(CodeKind::Python, "jsonp_name_of_a_region", "", "/srv/regions.py")));
        assert!(is_comparison(&frame(CodeKind::Native, "__memcmp_avx2_movbe", "", "")));
        assert!(!is_comparison(&frame(CodeKind::Python, "compare_prices", "", "/srv/a.py")));
    }
}
