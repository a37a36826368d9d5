//! Names that interpreters' readers give to frames while a profile runs.

use crate::stacks::FrameKind;
use std::collections::HashMap;

/// Distinct names kept at most.
const MAX_NAMES: usize = 1_000_000;

/// A function and its source file.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Name {
    pub(crate) kind: FrameKind,
    pub(crate) function: String,
    pub(crate) file: String,
}

#[derive(Default)]
pub(crate) struct Names {
    all: Vec<Name>,
    index: HashMap<Name, u32>,
}

impl Names {
    /// The index of a name; `None` where the table is full.
    pub(crate) fn add(&mut self, name: Name) -> Option<u32> {
        if let Some(known) = self.index.get(&name) {
            return Some(*known);
        }
        let index = u32::try_from(self.all.len()).ok().filter(|_| self.all.len() < MAX_NAMES)?;
        self.all.push(name.clone());
        self.index.insert(name, index);
        Some(index)
    }

    pub(crate) fn get(&self, index: u32) -> Option<&Name> {
        self.all.get(index as usize)
    }
}
