//! The slow log, where it is written into a table: what there is without performance_schema.

use super::connection::{MariaDb, Refused};
use super::digests::{Counts, Digests, SIGNAL, texts};
use anyhow::Result;
use model::Gap;

/// In words.
pub(super) const SOURCE: &str = "the slow log";
/// The newest lines that are read.
const MAX_LINES: usize = 20_000;

pub(super) async fn read(session: &mut MariaDb, digests: &mut Digests) -> Result<()> {
    let rows = session.ask("SELECT @@slow_query_log, @@log_output, @@long_query_time").await?;
    let settings = rows.first().map(texts).unwrap_or_default();
    let [on, output, _] = settings[..] else { return Ok(()) };
    if on != "1" || !output.to_ascii_uppercase().contains("TABLE") {
        digests.gaps.push(Gap::new(
            SIGNAL,
            "the slow log is not written into a table, so that no statement is known at all",
            "SET GLOBAL log_output = 'TABLE', long_query_time = 0.1, slow_query_log = ON (undo: slow_query_log = OFF)",
        ));
        return Ok(());
    }
    let sql = format!(
        "SELECT CONVERT(sql_text USING utf8mb4),
                HOUR(query_time) * 3600 + MINUTE(query_time) * 60 + SECOND(query_time) + MICROSECOND(query_time) / 1e6,
                rows_sent, rows_examined
           FROM mysql.slow_log WHERE db = DATABASE() ORDER BY start_time DESC LIMIT {MAX_LINES}"
    );
    let rows = match session.ask(&sql).await {
        Ok(rows) => rows,
        Err(error) => {
            let refused = error.downcast::<Refused>()?;
            let hint = format!("GRANT SELECT ON mysql.slow_log TO '{}'@...", session.user);
            digests.gaps.push(Gap::new(SIGNAL, format!("the slow log cannot be read: {refused}"), hint));
            return Ok(());
        }
    };
    digests.cut = rows.len() >= MAX_LINES;
    for row in rows {
        let [text, seconds, sent, examined] = texts(&row)[..] else { continue };
        let counts = Counts {
            calls: 1,
            total_ms: seconds.parse::<f64>().unwrap_or(0.0) * 1e3,
            sent: sent.parse().unwrap_or(0),
            examined: examined.parse().unwrap_or(0),
            ..Counts::default()
        };
        digests.add(text.to_owned(), Some(text.to_owned()), &counts);
    }
    digests.source = SOURCE;
    digests.gaps.push(Gap::new(
        SIGNAL,
        "only statements of the slow log are known: quick ones that are called often are not",
        "performance_schema=ON, or a smaller long_query_time for a while",
    ));
    Ok(())
}
