//! Columns, wrapped lines and colours.

/// Whether escape sequences may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colour {
    On,
    Off,
}

/// What a text means; the colour follows from it.
#[derive(Clone, Copy)]
pub(super) enum Ink {
    Bold,
    Dim,
    Good,
    Warning,
    Bad,
}

impl Colour {
    pub(super) fn paint(self, ink: Ink, text: &str) -> String {
        if self == Self::Off || text.is_empty() {
            return text.to_owned();
        }
        let code = match ink {
            Ink::Bold => "1",
            Ink::Dim => "2",
            Ink::Good => "32",
            Ink::Warning => "33",
            Ink::Bad => "31",
        };
        format!("\u{1b}[{code}m{text}\u{1b}[0m")
    }
}

/// No terminal is read comfortably below or above this.
pub(super) fn usable(width: usize) -> usize {
    width.clamp(40, 160)
}

/// `text` in lines of at most `width` columns, the first after `first`, the others after as many spaces. A word that
/// is longer than a line is cut into pieces.
pub(super) fn wrap(first: &str, text: &str, width: usize) -> String {
    let indent = first.chars().count();
    let room = width.saturating_sub(indent).max(16);
    let mut lines: Vec<String> = vec![String::new()];
    let mut used = 0;
    for word in text.split_whitespace() {
        let mut word: Vec<char> = word.chars().collect();
        let gap = usize::from(used > 0);
        if used + gap + word.len() > room && used > 0 {
            lines.push(String::new());
            used = 0;
        }
        while word.len() > room {
            let rest = word.split_off(room);
            push(&mut lines, &word);
            lines.push(String::new());
            word = rest;
        }
        if used > 0 {
            push(&mut lines, &[' ']);
            used += 1;
        }
        used += word.len();
        push(&mut lines, &word);
    }
    let blank = " ".repeat(indent);
    let mut out = String::new();
    for (at, line) in lines.iter().enumerate() {
        out.push_str(if at == 0 { first } else { &blank });
        out.push_str(line);
        out.truncate(out.trim_end_matches(' ').len());
        out.push('\n');
    }
    out
}

fn push(lines: &mut [String], chars: &[char]) {
    if let Some(last) = lines.last_mut() {
        last.extend(chars);
    }
}

/// How a column stands.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Align {
    Left,
    Right,
}

/// A table with two spaces between columns; the first column gives way where the width does not suffice.
/// `ink` says how each row is painted, if at all.
pub(super) fn table(
    head: &[(&str, Align)],
    rows: &[(Option<Ink>, Vec<String>)],
    width: usize,
    colour: Colour,
) -> String {
    let columns = head.len();
    let length = |text: &str| text.chars().count();
    let mut widths: Vec<usize> = head.iter().map(|h| length(h.0)).collect();
    for (_, row) in rows {
        for (at, cell) in row.iter().enumerate().take(columns) {
            widths[at] = widths[at].max(length(cell));
        }
    }
    let fixed: usize = widths.iter().skip(1).sum::<usize>() + 2 * columns.saturating_sub(1) + 2;
    if let Some(first) = widths.first_mut() {
        *first = (*first).min(width.saturating_sub(fixed).max(12));
    }
    let draw = |cells: &[String]| {
        let mut line = String::from("  ");
        for (at, cell) in cells.iter().enumerate().take(columns) {
            let cell = crate::clip::clip(cell, widths[at]);
            let pad = " ".repeat(widths[at].saturating_sub(length(&cell)));
            if head[at].1 == Align::Right {
                line.push_str(&pad);
                line.push_str(&cell);
            } else {
                line.push_str(&cell);
                line.push_str(&pad);
            }
            line.push_str("  ");
        }
        line.truncate(line.trim_end().len());
        line
    };
    let titles: Vec<String> = head.iter().map(|h| h.0.to_owned()).collect();
    let mut out = colour.paint(Ink::Dim, &draw(&titles));
    out.push('\n');
    for (ink, row) in rows {
        let line = draw(row);
        out.push_str(&ink.map_or_else(|| line.clone(), |ink| colour.paint(ink, &line)));
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_wrap_at_words_and_long_words_are_cut() {
        assert_eq!(wrap("- ", "one two three four", 18), "- one two three\n  four\n");
        let long = wrap("", &"x".repeat(40), 20);
        assert_eq!(long.lines().map(str::len).collect::<Vec<_>>(), [20, 20]);
    }
}
