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

/// A column: its title, how it stands, and how soon it gives way where the width does not suffice; 0 is never.
pub(super) struct Column {
    title: &'static str,
    align: Align,
    gives_way: u8,
}

pub(super) fn column(title: &'static str, align: Align, gives_way: u8) -> Column {
    Column { title, align, gives_way }
}

/// So much of the first column is shown before others give way.
const FIRST_COLUMN: usize = 30;
const LEAST_COLUMN: usize = 12;

/// A table with two spaces between columns. Too narrow, the columns that may give way go, the highest number first,
/// then the first column is cut. `ink` says how each row is painted, if at all.
pub(super) fn table(
    columns: &[Column],
    rows: &[(Option<Ink>, Vec<String>)],
    width: usize,
    colour: Colour,
) -> String {
    let length = |text: &str| text.chars().count();
    let mut widths: Vec<usize> = columns.iter().map(|c| length(c.title)).collect();
    for (_, row) in rows {
        for (known, cell) in widths.iter_mut().zip(row) {
            *known = (*known).max(length(cell));
        }
    }
    let mut kept: Vec<usize> = (0..columns.len()).collect();
    let others = |kept: &[usize]| 2 + kept.iter().skip(1).map(|&at| widths[at] + 2).sum::<usize>();
    let wanted = widths.first().map_or(0, |first| (*first).min(FIRST_COLUMN));
    while others(&kept) + wanted > width {
        let next = kept.iter().copied().max_by_key(|&at| columns[at].gives_way);
        let Some(next) = next.filter(|&at| columns[at].gives_way > 0) else { break };
        kept.retain(|&at| at != next);
    }
    let first = width.saturating_sub(others(&kept)).max(LEAST_COLUMN);
    let draw = |cells: &[&str]| {
        let mut line = String::new();
        for &at in &kept {
            let room = if at == 0 { widths[at].min(first) } else { widths[at] };
            let cell = crate::clip::clip(cells.get(at).copied().unwrap_or(""), room);
            let pad = " ".repeat(room.saturating_sub(length(&cell)));
            line.push_str("  ");
            line.push_str(&if columns[at].align == Align::Right { pad + &cell } else { cell + &pad });
        }
        line.truncate(line.trim_end().len());
        line
    };
    let titles: Vec<&str> = columns.iter().map(|c| c.title).collect();
    let mut out = colour.paint(Ink::Dim, &draw(&titles));
    out.push('\n');
    for (ink, row) in rows {
        let line = draw(&row.iter().map(String::as_str).collect::<Vec<_>>());
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
