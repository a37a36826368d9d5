//! Checks and groups in the order in which they were first met: the summary's tree.

use std::cell::RefCell;

/// Checks and groups of one test; beyond that they count in `checks` alone.
const MAX_CHECKS: usize = 10_000;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Check {
    pub(crate) name: String,
    pub(crate) passes: u64,
    pub(crate) fails: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Group {
    pub(crate) name: String,
    /// `::a::b`; empty for the root.
    pub(crate) path: String,
    pub(crate) groups: Vec<Group>,
    pub(crate) checks: Vec<Check>,
}

impl Group {
    fn new(path: &str) -> Self {
        let name = path.rsplit_once("::").map_or(path, |(_, name)| name);
        Self { name: name.to_owned(), path: path.to_owned(), groups: Vec::new(), checks: Vec::new() }
    }
}

struct State {
    root: Group,
    kept: usize,
}

pub(crate) struct Checks(RefCell<State>);

impl Default for Checks {
    fn default() -> Self {
        Self(RefCell::new(State { root: Group::new(""), kept: 0 }))
    }
}

impl Checks {
    /// Counts a check in the group of `path`.
    pub(crate) fn count(&self, path: &str, name: &str, passed: bool) {
        let mut state = self.0.borrow_mut();
        let State { root, kept } = &mut *state;
        let Some(group) = find(root, path, kept) else { return };
        let at = group.checks.iter().position(|check| check.name == name);
        let at = match at {
            Some(at) => at,
            None if *kept >= MAX_CHECKS => return,
            None => {
                *kept += 1;
                group.checks.push(Check { name: name.to_owned(), passes: 0, fails: 0 });
                group.checks.len() - 1
            }
        };
        let check = &mut group.checks[at];
        check.passes += u64::from(passed);
        check.fails += u64::from(!passed);
    }

    /// Remembers a group, also one without checks.
    pub(crate) fn enter(&self, path: &str) {
        let mut state = self.0.borrow_mut();
        let State { root, kept } = &mut *state;
        let _known = find(root, path, kept);
    }

    pub(crate) fn tree(&self) -> Group {
        self.0.borrow().root.clone()
    }
}

fn find<'a>(root: &'a mut Group, path: &str, kept: &mut usize) -> Option<&'a mut Group> {
    let mut group = root;
    if path.is_empty() {
        return Some(group);
    }
    let mut end = 0;
    for name in path.split("::").skip(1) {
        end += 2 + name.len();
        let at = match group.groups.iter().position(|known| known.name == name) {
            Some(at) => at,
            None if *kept >= MAX_CHECKS => return None,
            None => {
                *kept += 1;
                group.groups.push(Group::new(&path[..end]));
                group.groups.len() - 1
            }
        };
        group = &mut group.groups[at];
    }
    Some(group)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checks_lie_in_their_groups() {
        let checks = Checks::default();
        checks.count("", "up", true);
        checks.count("::a::b", "ok", false);
        checks.count("::a::b", "ok", true);
        checks.enter("::c");
        let tree = checks.tree();
        assert_eq!(tree.checks, [Check { name: "up".to_owned(), passes: 1, fails: 0 }]);
        let inner = &tree.groups[0].groups[0];
        assert_eq!((inner.path.as_str(), inner.name.as_str()), ("::a::b", "b"));
        assert_eq!(inner.checks, [Check { name: "ok".to_owned(), passes: 1, fails: 1 }]);
        assert_eq!(tree.groups[1].path, "::c");
    }
}
