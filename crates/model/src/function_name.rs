//! Names of functions as people read them, and whose they are.

use std::borrow::Cow;

/// Where the code of others lies.
const FOREIGN_PATHS: &[&str] = &[
    "site-packages/",
    "dist-packages/",
    "/lib/python",
    "node_modules/",
    "node:",
    "/rustc/",
    "/.cargo/registry/",
    "/.cargo/git/",
    "/.rustup/",
    "/library/std/",
    "/library/core/",
    "/library/alloc/",
    "/usr/lib/",
    "/usr/local/go/",
    "/go/pkg/mod/",
    "<frozen ",
    "/build/glibc",
    "../sysdeps/",
    "./nptl/",
    "./string/",
    "./malloc/",
];

/// Whether a source file belongs to a library or a runtime, as far as its path tells.
#[must_use]
pub fn is_library_path(path: &str) -> bool {
    FOREIGN_PATHS.iter().any(|part| path.contains(part))
}

/// A function's name without the generic arguments of it and of its types, which name the types of others and run to
/// hundreds of characters: `poll<axum::Json<T>>` is `poll`, `<Vec<T> as Debug>::fmt` is `<Vec as Debug>::fmt`.
#[must_use]
pub fn plain_name(function: &str) -> Cow<'_, str> {
    if !function.contains('<') {
        return Cow::Borrowed(function);
    }
    let mut out = String::with_capacity(function.len());
    let mut depth = 0_u32;
    let mut before = ' ';
    for c in function.chars() {
        let of_a_name = before.is_alphanumeric() || matches!(before, '_' | '}' | ':');
        match c {
            '<' if depth > 0 || of_a_name => depth += 1,
            '>' if depth > 0 && before != '-' => depth -= 1,
            _ if depth == 0 => out.push(c),
            _ => {}
        }
        before = c;
    }
    // A long name may have been cut within its arguments; an operator's bracket begins none.
    if depth > 0 && function.contains("operator") {
        return Cow::Borrowed(function);
    }
    Cow::Owned(out.replace("::::", "::"))
}

/// The same without a C++ function's parameters, result and the compiler's remark, as a label that must be short:
/// `void std::sort<It>(It, It) [clone .isra.0]` is `std::sort`.
#[must_use]
pub fn short_name(function: &str) -> Cow<'_, str> {
    let plain = plain_name(function);
    let name = plain.split(" [clone").next().unwrap_or(&plain);
    let name = name.strip_suffix(" const").unwrap_or(name);
    let Some(open) = parameters(name) else {
        return if name.len() == plain.len() { plain } else { name.to_owned().into() };
    };
    let name = &name[..open];
    // A result stands before a blank; `operator new` and `(anonymous namespace)` hold one.
    let from = match name.rfind(' ') {
        Some(at)
            if !name.contains("operator")
                && !name[at..].contains(')')
                && !name.starts_with(['<', '{', '[']) =>
        {
            at + 1
        }
        _ => 0,
    };
    Cow::Owned(name[from..].to_owned())
}

/// Where the bracket opens that closes at the end of a name.
fn parameters(name: &str) -> Option<usize> {
    if !name.ends_with(')') {
        return None;
    }
    let mut depth = 0_u32;
    for (at, c) in name.char_indices().rev() {
        match c {
            ')' => depth += 1,
            '(' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0 {
            // Not a name that is all bracket, as `(anonymous)`, and not the call operator's own pair.
            let before = &name[..at];
            return (before.ends_with(|c: char| c.is_alphanumeric() || matches!(c, '_' | '}' | ')' | '>')))
                .then_some(at);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generic_arguments_are_nobodys_name() {
        for (function, expected) in [
            ("poll<axum::json::Json<T>, fn(A) -> B>", "poll"),
            ("<alloc::vec::Vec<T> as core::fmt::Debug>::fmt", "<alloc::vec::Vec as core::fmt::Debug>::fmt"),
            ("core::slice::sort::<u8>::merge", "core::slice::sort::merge"),
            ("{async_block#0}<fn(State<App>) -> list::{async_fn_env#0}, Json<T>>", "{async_block#0}"),
            ("std::vector<int, std::allocator<int> >::push_back", "std::vector::push_back"),
            ("list.<locals>.<listcomp>", "list.<locals>.<listcomp>"),
            ("poll<axum::json::Json<T>, tower::util::Ei", "poll"),
            ("operator<", "operator<"),
            ("operator<<", "operator<<"),
            ("Foo::operator->", "Foo::operator->"),
            ("plain_name", "plain_name"),
        ] {
            assert_eq!(plain_name(function), expected);
        }
    }

    #[test]
    fn labels_have_no_parameters() {
        for (function, expected) in [
            (
                "void std::__introsort_loop<It<int*>, long>(It<int*>, It<int*>, long) [clone .isra.0]",
                "std::__introsort_loop",
            ),
            ("hold_lock(int)", "hold_lock"),
            ("std::map<int, long>::at(int const&) const", "std::map::at"),
            ("(anonymous namespace)::work(int)", "(anonymous namespace)::work"),
            ("(anonymous)", "(anonymous)"),
            ("(garbage collector)", "(garbage collector)"),
            ("main::{lambda()#1}::operator()(int)", "main::{lambda()#1}::operator()"),
            ("operator new(unsigned long)", "operator new"),
            ("<T as Into<U>>::into", "<T as Into>::into"),
            ("get value", "get value"),
            ("scan.<locals>.<genexpr>", "scan.<locals>.<genexpr>"),
            ("fn(", "fn("),
            ("", ""),
        ] {
            assert_eq!(short_name(function), expected);
        }
    }
}
