//! What the rules about call patterns share: what a call does, which values it is given, how a batch is priced, and
//! which words a framework has for the remedy. Nothing here decides whether something is a finding.

pub(super) mod batch;
pub(super) mod effect;
pub(super) mod frameworks;
pub(super) mod headers;
pub(super) mod nodes;
pub(super) mod pages;
pub(super) mod pool;
pub(super) mod values;
