//! `trimtab load merge`: the results of generators that shared a load, as one.

use super::load::show;
use super::{Answer, Setting};
use crate::args::LoadMergeArgs;
use anyhow::{Context, Result};
use std::time::Instant;

pub(super) fn run(setting: &Setting, args: &LoadMergeArgs) -> Result<Answer> {
    let mut parts: Vec<load::Saved> = Vec::with_capacity(args.files.len());
    for file in &args.files {
        let shown = file.display();
        let text = std::fs::read(file).with_context(|| format!("could not read {shown}"))?;
        let part = serde_json::from_slice(&text);
        parts.push(part.with_context(|| format!("{shown} is no result of `trimtab load run --save`"))?);
    }
    let result = load::merge(&parts, Instant::now())?;
    show(setting, &result, &[], &args.output)
}
