//! Both themes are readable: WCAG 2.2, AA. Texts 4.5 to 1 on every ground that they stand on, shapes 3 to 1.

use std::collections::BTreeMap;

const STYLE: &str = include_str!("../../../../ui/report/style.css");

/// Names and colours of the block that follows `selector`.
fn theme(selector: &str) -> BTreeMap<&'static str, [f64; 3]> {
    let block = STYLE.split(selector).nth(1).and_then(|rest| rest.split('}').next()).expect("a theme");
    let entries = block.split("--").filter_map(|entry| entry.split(';').next()?.split_once(": #"));
    let colour =
        |hex: &str| [0, 2, 4].map(|at| f64::from(u8::from_str_radix(&hex[at..at + 2], 16).expect("hex")));
    entries.map(|(name, hex)| (name, colour(hex))).collect()
}

/// WCAG's relative luminance.
fn luminance(colour: [f64; 3]) -> f64 {
    let [r, g, b] = colour.map(|c| {
        let c = c / 255.0;
        if c <= 0.040_45 { c / 12.92 } else { ((c + 0.055) / 1.055).powf(2.4) }
    });
    0.2126 * r + 0.7152 * g + 0.0722 * b
}

fn contrast(a: [f64; 3], b: [f64; 3]) -> f64 {
    let (a, b) = (luminance(a), luminance(b));
    (a.max(b) + 0.05) / (a.min(b) + 0.05)
}

#[test]
fn both_themes_have_the_contrast_that_they_promise() {
    let mut checked = 0;
    for selector in [":root {", ":root[data-theme=\"dark\"] {"] {
        let theme = theme(selector);
        let mut check = |front: &str, ground: &str, least: f64| {
            let ratio = contrast(theme[front], theme[ground]);
            assert!(ratio >= least, "{selector} {front} on {ground}: {ratio:.2}");
            checked += 1;
        };
        for text in ["ink", "soft", "faint", "info", "predicted", "actual"] {
            for ground in ["ground", "card", "sunk"] {
                check(text, ground, 4.5);
            }
        }
        for tone in ["good", "warn", "bad", "info"] {
            check(tone, &format!("{tone}-ground"), 4.5);
        }
        check("mark", "card", 4.5);
        for (shape, _) in theme.iter().filter(|(name, _)| name.starts_with("k-")) {
            check(shape, "card", 3.0);
        }
        check("before", "card", 3.0);
    }
    assert!(checked >= 60, "{checked} pairs were found");
}
