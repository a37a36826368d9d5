//! What a log did not tell, and what to write into the server's configuration so that it does.

use crate::collect::{Collector, NOT_FOUND};
use crate::scan::Scan;
use crate::series;
use model::Gap;

const SIGNAL: &str = "log";
/// Hosts in one log that are named.
const MAX_NAMED: usize = 3;

/// What to add to the log so that it tells response times, for a format by its name.
#[must_use]
pub fn duration_hint(format: &str) -> String {
    let apache = "Apache: LogFormat \"%h %l %u %t \\\"%r\\\" %>s %b \\\"%{Referer}i\\\" \\\"%{User-Agent}i\\\" %D\" timed";
    let nginx = "nginx: log_format timed '$remote_addr - $remote_user [$time_local] \"$request\" $status $body_bytes_sent \
                 \"$http_referer\" \"$http_user_agent\" $request_time $upstream_response_time'; access_log ... timed;";
    if format.contains("JSON") || format.contains("key=value") {
        "log the response time beside the status, with its unit in the name: duration_ms".to_owned()
    } else if format.contains("common log format") {
        format!("{apache}; {nginx}")
    } else {
        format!("{nginx}; {apache}")
    }
}

pub(crate) fn gaps(collected: &Collector, logs: &[(String, Scan)]) -> Vec<Gap> {
    let mut gaps = Vec::new();
    for (name, scan) in logs {
        of_scan(name, scan, &mut gaps);
    }
    if collected.timed > 0 {
        gaps.push(Gap::new(
            "traces",
            "an access log shows requests from outside: no step within them can be seen",
            "send traces of the service to trimtab (OTLP) for the causes",
        ));
    }
    let missing: u64 =
        collected.endpoints.iter().filter(|(key, _)| key.0 == NOT_FOUND).map(|(_, e)| e.requests).sum();
    if missing > 0 {
        let mut paths: Vec<_> = collected.missing.iter().collect();
        paths.sort_by(|a, b| b.1.cmp(a.1).then_with(|| a.0.cmp(b.0)));
        let named: Vec<String> =
            paths.iter().take(MAX_NAMED).map(|(path, count)| format!("{path} ({count})")).collect();
        gaps.push(Gap::new(
            SIGNAL,
            format!(
                "{missing} requests for paths that were never found (400, 404, 405) are one endpoint, `{}`: most often {}",
                series::NOT_FOUND,
                named.join(", ")
            ),
            "links that lead nowhere, or scanners; nothing to do where it is the latter",
        ));
    }
    if collected.hosts.len() > 1 {
        let mut hosts: Vec<_> = collected.hosts.iter().collect();
        hosts.sort_by(|a, b| b.1.cmp(a.1).then_with(|| a.0.cmp(b.0)));
        let named: Vec<&str> = hosts.iter().take(MAX_NAMED).map(|(host, _)| &***host).collect();
        gaps.push(Gap::new(
            SIGNAL,
            format!("requests to {} hosts are judged together: {} ...", hosts.len(), named.join(", ")),
            "--log-host HOST judges one of them",
        ));
    }
    gaps.extend(silence(collected));
    gaps
}

fn of_scan(name: &str, scan: &Scan, gaps: &mut Vec<Gap>) {
    let mut add = |reason: String, hint: &str| gaps.push(Gap::new(SIGNAL, format!("{name}: {reason}"), hint));
    if scan.requests > 0 && scan.timed == 0 {
        add(
            "it tells no response time: rates, statuses and sizes are all that can be judged".to_owned(),
            &duration_hint(&scan.format),
        );
    } else if scan.timed < scan.requests {
        let untimed = scan.requests - scan.timed;
        add(
            format!("{untimed} of {} requests have no response time", scan.requests),
            &duration_hint(&scan.format),
        );
    }
    for (reason, (count, first)) in &scan.unreadable {
        add(
            format!("{count} of {} lines were not read: {reason} (the first is line {first})", scan.lines),
            "--log-format gives the format where it was not told rightly",
        );
    }
    for assumed in &scan.assumed {
        add(
            assumed.clone(),
            "--log-unit s|ms|us|ns says it, or put the unit into the field's name: duration_ms",
        );
    }
    if let Some(error) = &scan.ended_early {
        add(
            format!("it ends early: {error}; what was read until then is judged"),
            "copy the file again when it is complete",
        );
    }
    if scan.not_utf8 > 0 {
        add(
            format!("{} lines are not UTF-8; the odd bytes were replaced", scan.not_utf8),
            "nothing to do where clients send such paths",
        );
    }
}

/// A log that says nothing for most of its time has rates that mean nothing.
fn silence(collected: &Collector) -> Option<Gap> {
    let seconds = collected.cell_seconds();
    let mut cells: Vec<u64> = collected.cells.keys().map(|(_, at)| *at).collect();
    cells.sort_unstable();
    cells.dedup();
    let (first, last) = (cells.first()?, cells.last()?);
    let whole = (last - first + 1) * seconds;
    let longest = cells.windows(2).map(|w| (w[1] - w[0] - 1) * seconds).max().unwrap_or(0);
    (longest * 2 > whole && longest > 60).then(|| {
        Gap::new(
            SIGNAL,
            format!("for {longest} of {whole} s it holds no line; rates are means over the whole time"),
            "cut the log to the time that is to be judged; a wrong clock makes such holes too",
        )
    })
}
