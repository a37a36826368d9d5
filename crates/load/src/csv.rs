//! Reads one column of a CSV file (RFC 4180): a header line, fields in quotes where they need them.

use anyhow::{Context, Result, bail};
use std::path::Path;

/// A larger file is refused.
const MAX_FILE_BYTES: u64 = 256 << 20;
/// More rows are refused.
const MAX_ROWS: usize = 5_000_000;

/// All values of a column.
///
/// # Errors
/// A file that cannot be read or is too large, no such column, no rows, a row that lacks the column: names file and
/// line.
pub(crate) fn read_column(file: &Path, column: &str) -> Result<Vec<String>> {
    let shown = file.display();
    let size = std::fs::metadata(file).with_context(|| format!("could not read {shown}"))?.len();
    if size > MAX_FILE_BYTES {
        bail!("{shown} has more than {MAX_FILE_BYTES} bytes");
    }
    let text = std::fs::read_to_string(file).with_context(|| format!("could not read {shown}"))?;
    parse_column(&text, column).with_context(|| shown.to_string())
}

fn parse_column(text: &str, column: &str) -> Result<Vec<String>> {
    let mut rows = Rows { rest: text.trim_start_matches('\u{feff}'), line: 0 };
    let header = rows.next().transpose()?.context("it is empty, expected a header line")?.1;
    let Some(at) = header.iter().position(|name| name.trim() == column) else {
        bail!("no column `{column}`, there are {}", header.join(", "));
    };
    let mut values = Vec::new();
    for row in rows {
        let (line, mut fields) = row?;
        if fields.len() == 1 && fields[0].is_empty() {
            continue;
        }
        if at >= fields.len() {
            bail!("line {line}: {} fields, column `{column}` is number {}", fields.len(), at + 1);
        }
        if values.len() >= MAX_ROWS {
            bail!("more than {MAX_ROWS} rows");
        }
        values.push(fields.swap_remove(at));
    }
    if values.is_empty() {
        bail!("it has no rows below its header line");
    }
    Ok(values)
}

/// Rows with the numbers of the lines that they begin on.
struct Rows<'a> {
    rest: &'a str,
    line: usize,
}

impl Iterator for Rows<'_> {
    type Item = Result<(usize, Vec<String>)>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        self.line += 1;
        let began = self.line;
        let mut fields = Vec::new();
        loop {
            let (field, end) = match self.field() {
                Ok(field) => field,
                Err(error) => return Some(Err(error.context(format!("line {began}")))),
            };
            fields.push(field);
            if end != Some(',') {
                return Some(Ok((began, fields)));
            }
        }
    }
}

impl Rows<'_> {
    /// The next field and what ended it; `None`: the row.
    fn field(&mut self) -> Result<(String, Option<char>)> {
        let Some(quoted) = self.rest.strip_prefix('"') else {
            let end = self.rest.find([',', '\n']).unwrap_or(self.rest.len());
            let field = self.rest[..end].trim_end_matches('\r').to_owned();
            return Ok((field, self.skip(end)));
        };
        let mut field = String::new();
        let mut rest = quoted;
        loop {
            let Some(at) = rest.find('"') else { bail!("a quote that is not closed") };
            field.push_str(&rest[..at]);
            rest = &rest[at + 1..];
            match rest.strip_prefix('"') {
                Some(behind) => {
                    field.push('"');
                    rest = behind;
                }
                None => break,
            }
        }
        self.line += field.matches('\n').count();
        self.rest = rest.strip_prefix('\r').unwrap_or(rest);
        if !self.rest.is_empty() && !self.rest.starts_with([',', '\n']) {
            bail!("text behind a closing quote");
        }
        Ok((field, self.skip(0)))
    }

    /// Goes behind the separator at `at`.
    fn skip(&mut self, at: usize) -> Option<char> {
        let separator = self.rest[at..].chars().next();
        self.rest = &self.rest[(at + 1).min(self.rest.len())..];
        separator.filter(|separator| *separator == ',')
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_column_is_read_with_quotes_and_line_ends_of_any_kind() {
        let text = "\u{feff}id,name\r\n1,ann\r\n2,\"b\"\"o,\nb\"\r\n\r\n3,\n";
        assert_eq!(parse_column(text, "id").unwrap(), ["1", "2", "3"]);
        assert_eq!(parse_column(text, "name").unwrap(), ["ann", "b\"o,\nb", ""]);
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        let refused = |text: &str| format!("{:#}", parse_column(text, "id").unwrap_err());
        assert!(refused("").contains("it is empty"));
        assert!(refused("a,b\n1,2").contains("no column `id`, there are a, b"));
        assert!(refused("id\n").contains("no rows"));
        assert!(refused("x,id\n1,2\n3\n").contains("line 3: 1 fields, column `id` is number 2"));
        assert!(refused("id\n\"1\n").contains("line 2: a quote that is not closed"));
        assert!(refused("id\n\"1\"2\n").contains("behind a closing quote"));
    }
}
