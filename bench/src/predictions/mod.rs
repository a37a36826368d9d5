//! Every switch of the shop, toggled alone: what the findings predict beside what a trial measures. Predictions and
//! trials are the program's own; nothing here corrects either.

mod document;
mod rows;
mod shop;

use crate::args::PredictionsArgs;
use crate::figures::Figures;
use anyhow::{Context, Result, bail};
use model::{Change, Diagnosis, Finding, Recording};
use rows::{Row, figures};
use shop::{Case, Shop};
use std::time::Duration;
use trimtab::apply::Guard;
use trimtab::control;
use trimtab::trials;

pub(crate) async fn run(args: &PredictionsArgs, json: bool) -> Result<Figures> {
    let mut shop = Shop::open(args, json).await?;
    let compared = Box::pin(compare(&mut shop, args)).await;
    let untried = shop.untried().await;
    shop.close().await;
    let (rows, left) = compared?;
    let figures = figures(args, &rows, &left, &untried?);
    if let Some(path) = &args.output {
        document::write(path, &document::text(args, &figures))?;
    }
    Ok(figures)
}

/// One row for each change, and in the good form the findings that should not be there any more.
async fn compare(shop: &mut Shop, args: &PredictionsArgs) -> Result<(Vec<Row>, Vec<Finding>)> {
    let (_, diagnosis) = shop.look("measuring the naive form").await?;
    let all = cases(&diagnosis, &shop.session.settings.controls);
    let wanted: Vec<&Case> = all.iter().filter(|case| is_wanted(args, &case.change)).collect();
    if wanted.is_empty() {
        bail!("no change is named so; there are: {}", names(&all));
    }
    let mut rows = Vec::new();
    let mut left = Vec::new();
    if args.from_good {
        for case in &all {
            shop.hands.apply(&case.change).await?;
        }
        let (_, diagnosis) = shop.look("measuring the good form").await?;
        left = diagnosis.findings;
        for case in wanted {
            shop.hands.undo(&case.change).await?;
            rows.push(Box::pin(look_and_compare(shop, args, case)).await?);
            shop.hands.apply(&case.change).await?;
        }
    } else {
        for case in wanted {
            rows.push(Box::pin(look_and_compare(shop, args, case)).await?);
        }
    }
    Ok((rows, left))
}

/// Measures and predicts under a load that sees enough of the case's endpoints, then tries it.
async fn look_and_compare(shop: &mut Shop, args: &PredictionsArgs, case: &Case) -> Result<Row> {
    shop.aim_at(case);
    let what = format!("measuring before {}", case.change.name);
    let (recording, diagnosis) = shop.look_for(&case.change, args, &what).await?;
    let case = Case { finding: mended(shop, &diagnosis, case), ..case.clone() };
    compare_one(shop, &case, &recording).await
}

fn names(cases: &[Case]) -> String {
    cases.iter().map(|case| case.change.name.as_str()).collect::<Vec<_>>().join(", ")
}

fn is_wanted(args: &PredictionsArgs, change: &Change) -> bool {
    args.only.is_empty() || args.only.iter().any(|text| change.name.contains(text.as_str()))
}

/// The indexes that findings ask for first, then those that they overlook, as their trials are compared with the measurement that was just made; then
/// every control of the settings, and every switch of the shop that no control names.
fn cases(diagnosis: &Diagnosis, controls: &[control::Control]) -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    for finding in &diagnosis.findings {
        let Some(change) = control::change_for(finding, &[], true, &[]) else { continue };
        if cases.iter().all(|case| case.change.name != change.name) {
            cases.push(Case::index(change, finding));
        }
    }
    for change in shop::missing_indexes() {
        let table = shop::indexed_table(&change);
        if cases.iter().all(|case| shop::indexed_table(&case.change) != table) {
            cases.push(Case::silent_index(change));
        }
    }
    let extra = shop::extra_controls();
    for control in controls.iter().chain(&extra) {
        cases.push(Case::switch(control));
    }
    cases
}

/// The best finding that the change mends, in the order in which the loop would take them, of an endpoint that the trial
/// sees enough of.
fn mended(shop: &Shop, diagnosis: &Diagnosis, case: &Case) -> Option<Finding> {
    let mends = |finding: &&Finding| match &case.control {
        Some(control) => control.mends(finding),
        None => control::change_for(finding, &[], true, &[])
            .is_some_and(|change| shop::indexed_table(&change) == shop::indexed_table(&case.change)),
    };
    diagnosis.findings.iter().filter(mends).find(|f| shop.is_frequent(&f.endpoint)).cloned()
}

/// Tries one change with the program's own trial, and leaves everything as it was.
async fn compare_one(shop: &mut Shop, case: &Case, recording: &Recording) -> Result<Row> {
    let finding = case.finding.clone().unwrap_or_else(|| case.nothing_found());
    let mut guard = Guard::new(shop.hands.clone(), case.change.clone());
    let tried = trials::run(&mut shop.session, &mut guard, &finding, &case.change, recording).await;
    guard.revert().await?;
    let judgement = tried.with_context(|| format!("could not try {}", case.change.name))?.judgement;
    shop.settle().await?;
    let row = Row::new(case, &finding, &judgement);
    shop.output.say(&row.line());
    Ok(row)
}

fn seconds(number: f64, flag: &str) -> Result<Duration> {
    Duration::try_from_secs_f64(number).with_context(|| format!("{flag} is {number}, expected seconds"))
}
