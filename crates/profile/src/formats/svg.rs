//! The flame graph as one SVG file: widths are time, the first row is the whole profile, the second its states. With its
//! small script a click and keys zoom and `/` searches; without, it is a picture with titles.

use crate::ledger::State;
use crate::stacks::Stacks;
use std::collections::BTreeMap;
use std::fmt::Write;

const WIDTH: f64 = 1200.0;
const ROW: f64 = 17.0;
const TOP: f64 = 40.0;
/// Narrower frames are left out: nobody can see or hit them.
const MIN_WIDTH: f64 = 0.1;
/// Width of a character of the font at its size.
const CHARACTER: f64 = 6.6;
const SCRIPT: &str = include_str!("flame.js");

/// One box: stacks that have a name path in common.
#[derive(Default)]
struct Tree<'a> {
    weight: u64,
    children: BTreeMap<&'a str, Tree<'a>>,
}

/// The profile as a flame graph in which stacks grow downwards.
#[must_use]
pub fn write(stacks: &Stacks) -> String {
    let mut root = Tree::default();
    for (stack, weights) in stacks.totals() {
        let path = stacks.path(stack);
        for state in State::ALL {
            let weight = weights[state.index()];
            if weight > 0 {
                insert(&mut root, state.name(), &path, stacks, weight);
            }
        }
    }
    let mut boxes = String::new();
    let mut depth = 0;
    // Writing to a string does not fail.
    let _infallible = draw_all(&mut boxes, &root, &mut depth);
    let height = TOP + ROW * (depth as f64 + 1.0) + 10.0;
    let title = escaped(&stacks.title);
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"100%\" viewBox=\"0 0 {WIDTH} {height}\" preserveAspectRatio=\"xMidYMin\" \
         font-family=\"monospace\" font-size=\"11\">\n\
         <style>rect{{stroke:#fff;stroke-width:.4}}text{{pointer-events:none}}.hit rect{{fill:#d0f}}\
         .dim{{opacity:.4}}.at rect{{stroke:#000;stroke-width:2}}</style>\n\
         <rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#fff\"/>\n\
         <text x=\"8\" y=\"18\" font-size=\"14\">{title}</text>\n\
         <text id=\"says\" x=\"8\" y=\"33\">click: zoom, Esc: back, /: search, arrows and Enter: move and zoom</text>\n\
         <g id=\"flame\">\n{boxes}</g>\n<script><![CDATA[\n{SCRIPT}]]></script>\n</svg>\n"
    )
}

fn insert<'a>(root: &mut Tree<'a>, state: &'a str, path: &[u32], stacks: &'a Stacks, weight: u64) {
    let names = std::iter::once(state).chain(path.iter().map(|frame| stacks.function(*frame)));
    let mut at = root;
    at.weight = at.weight.saturating_add(weight);
    for name in names {
        at = at.children.entry(name).or_default();
        at.weight = at.weight.saturating_add(weight);
    }
}

/// Draws with a stack of its own: a path can be deeper than ours.
fn draw_all(out: &mut String, root: &Tree<'_>, deepest: &mut usize) -> std::fmt::Result {
    let scale = WIDTH / (root.weight.max(1) as f64);
    let mut open = vec![("all threads", root, 0.0, 0_usize, None)];
    while let Some((name, tree, x, depth, state)) = open.pop() {
        let width = tree.weight as f64 * scale;
        if width < MIN_WIDTH {
            continue;
        }
        *deepest = (*deepest).max(depth);
        let share = 100.0 * tree.weight as f64 / root.weight.max(1) as f64;
        let y = TOP + ROW * depth as f64;
        let colour = colour(state, name);
        let text = escaped(name);
        write!(out, "<g><title>{text}: {:.3} s, {share:.2} %</title>", tree.weight as f64 / 1e9)?;
        write!(
            out,
            "<rect x=\"{x:.2}\" y=\"{y}\" width=\"{width:.2}\" height=\"{}\" fill=\"{colour}\"/>",
            ROW - 1.0
        )?;
        let fits = ((width - 4.0) / CHARACTER) as usize;
        if fits >= 3 {
            let shown: String = model::short_name(name).chars().take(fits).collect();
            write!(out, "<text x=\"{:.2}\" y=\"{:.1}\">{}</text>", x + 2.0, y + 12.0, escaped(&shown))?;
        }
        writeln!(out, "</g>")?;
        let mut child_x = x;
        for (child_name, child) in &tree.children {
            let state = state.or_else(|| State::ALL.into_iter().find(|s| s.name() == *child_name));
            open.push((child_name, child, child_x, depth + 1, state));
            child_x += child.weight as f64 * scale;
        }
    }
    Ok(())
}

/// Warm for work, yellow for queueing, cold for waiting; the shade tells neighbours apart.
fn colour(state: Option<State>, name: &str) -> String {
    let shade =
        name.bytes().fold(7_u32, |hash, byte| hash.wrapping_mul(31).wrapping_add(u32::from(byte))) % 30;
    let (hue, lightness) = match state {
        None => (0, 85),
        Some(State::Running) => (10 + shade, 65),
        Some(State::Queued) => (50 + shade / 3, 60),
        Some(State::Blocked) => (195 + shade, 75),
        Some(State::GilWait) => (280 + shade, 78),
    };
    let saturation = if state.is_none() { 0 } else { 80 };
    format!("hsl({hue},{saturation}%,{lightness}%)")
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&quot;"),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::read_folded;
    use super::*;

    #[test]
    fn widths_are_shares_and_names_are_escaped() {
        let svg = write(&read_folded("blocked;main 750\non CPU;Vec<T>::push 250\n").unwrap());
        assert!(
            svg.contains(
                "<title>blocked: 0.000 s, 75.00 %</title><rect x=\"0.00\" y=\"57\" width=\"900.00\""
            )
        );
        assert!(svg.contains("<title>Vec&lt;T&gt;::push: 0.000 s, 25.00 %</title>"));
    }

    #[test]
    fn an_empty_profile_is_a_picture_too() {
        assert!(write(&Stacks::default()).ends_with("</svg>\n"));
    }
}
