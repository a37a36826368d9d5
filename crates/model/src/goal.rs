//! Goals as a user writes them: `p95(GET /orders) < 250 ms`, `errors(*) < 1 %`, `rate(POST /orders) > 200/s`.

use std::fmt;

/// What a goal measures.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum GoalMetric {
    /// Response time at a quantile (0.95), limit in milliseconds.
    Quantile(f64),
    /// Mean response time, limit in milliseconds.
    Mean,
    /// Share of failed requests, limit from 0 to 1.
    Errors,
    /// Requests per second.
    Rate,
    /// CPU utilization of a host or process role, limit from 0 to 1.
    Cpu,
    /// Memory utilization, limit from 0 to 1.
    Memory,
    /// Largest contentful paint of a page, limit in milliseconds.
    Lcp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relation {
    Below,
    Above,
}

/// A measurable goal.
#[derive(Clone, Debug, PartialEq)]
pub struct Goal {
    pub metric: GoalMetric,
    /// Endpoint, page, host or role; `*` stands for every endpoint.
    pub subject: String,
    pub relation: Relation,
    /// In the metric's own unit, see [`GoalMetric`].
    pub limit: f64,
}

/// Why a text is no goal: the part that is wrong and what was expected there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GoalError {
    pub text: String,
    pub problem: String,
}

impl fmt::Display for GoalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "goal `{}`: {}; goals look like `p95(GET /orders) < 250 ms`, `errors(*) < 1 %`, `rate(POST /orders) > 200/s`",
            self.text, self.problem
        )
    }
}

impl std::error::Error for GoalError {}

impl std::str::FromStr for Goal {
    type Err = GoalError;

    fn from_str(text: &str) -> Result<Self, GoalError> {
        parse(text).map_err(|problem| GoalError { text: text.to_owned(), problem })
    }
}

fn parse(text: &str) -> Result<Goal, String> {
    let open = text.find('(').ok_or("no `(` after the metric")?;
    // A subject may hold parentheses of its own: the relation comes after the last one.
    let close = text.rfind(')').filter(|c| *c > open).ok_or("no `)` after the subject")?;
    let metric = metric(text[..open].trim())?;
    let subject = text[open + 1..close].trim();
    if subject.is_empty() {
        return Err("nothing between the parentheses".to_owned());
    }
    let rest = text[close + 1..].trim();
    let (relation, rest) = relation(rest)?;
    let limit = limit(rest.trim(), metric)?;
    Ok(Goal { metric, subject: subject.to_owned(), relation, limit })
}

fn metric(word: &str) -> Result<GoalMetric, String> {
    Ok(match word.to_ascii_lowercase().as_str() {
        "errors" | "error_rate" => GoalMetric::Errors,
        "rate" | "throughput" => GoalMetric::Rate,
        "cpu" => GoalMetric::Cpu,
        "memory" => GoalMetric::Memory,
        "mean" | "avg" => GoalMetric::Mean,
        "median" => GoalMetric::Quantile(0.5),
        "lcp" => GoalMetric::Lcp,
        other => {
            let percent = other.strip_prefix('p').and_then(|n| n.parse::<f64>().ok());
            match percent {
                Some(p) if p > 0.0 && p < 100.0 => GoalMetric::Quantile(p / 100.0),
                Some(_) => return Err(format!("`{other}` is no percentile between p0 and p100")),
                None => {
                    return Err(format!(
                        "unknown metric `{other}`, expected p50 to p99.9, mean, errors, rate, cpu, memory or lcp"
                    ));
                }
            }
        }
    })
}

fn relation(rest: &str) -> Result<(Relation, &str), String> {
    for (sign, relation) in
        [("<=", Relation::Below), (">=", Relation::Above), ("<", Relation::Below), (">", Relation::Above)]
    {
        if let Some(rest) = rest.strip_prefix(sign) {
            return Ok((relation, rest));
        }
    }
    Err("no `<` or `>` after the subject".to_owned())
}

fn limit(text: &str, metric: GoalMetric) -> Result<f64, String> {
    let split = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
    let number: f64 = text[..split].parse().map_err(|_| format!("no number in the limit `{text}`"))?;
    let unit = text[split..].trim();
    let scaled = match (metric, unit) {
        (GoalMetric::Quantile(_) | GoalMetric::Mean | GoalMetric::Lcp, "ms") => number,
        (GoalMetric::Quantile(_) | GoalMetric::Mean | GoalMetric::Lcp, "s") => number * 1e3,
        (GoalMetric::Quantile(_) | GoalMetric::Mean | GoalMetric::Lcp, "us" | "µs") => number / 1e3,
        (GoalMetric::Errors | GoalMetric::Cpu | GoalMetric::Memory, "%") => number / 100.0,
        (GoalMetric::Rate, "/s" | "rps" | "per second") => number,
        (GoalMetric::Rate, "/min" | "/m") => number / 60.0,
        (GoalMetric::Quantile(_) | GoalMetric::Mean | GoalMetric::Lcp, _) => {
            return Err(format!("unit `{unit}` of the limit, expected ms or s"));
        }
        (GoalMetric::Rate, _) => return Err(format!("unit `{unit}` of the limit, expected /s or /min")),
        _ => return Err(format!("unit `{unit}` of the limit, expected %")),
    };
    Ok(scaled)
}

impl Goal {
    /// Whether a measured figure, in the metric's own unit, meets the goal.
    #[must_use]
    pub fn is_met_by(&self, measured: f64) -> bool {
        match self.relation {
            Relation::Below => measured < self.limit,
            Relation::Above => measured > self.limit,
        }
    }

    /// Whether the goal speaks of an endpoint: same name, letter case aside, or `*`; a path parameter matches
    /// whatever it is called (`{id}`, `:id`, `<int:id>`).
    #[must_use]
    pub fn concerns(&self, endpoint: &str) -> bool {
        let route =
            || endpoint.split_once(VARIANT).is_some_and(|(route, _)| same_endpoint(&self.subject, route));
        self.subject == "*" || same_endpoint(&self.subject, endpoint) || route()
    }
}

/// Stands between a route and what tells its kinds apart: `POST /graphql > Orders`. A goal of the route concerns all.
pub const VARIANT: &str = " > ";

fn same_endpoint(left: &str, right: &str) -> bool {
    let (left, right) = (left.trim(), right.trim());
    if left.eq_ignore_ascii_case(right) {
        return true;
    }
    let mut left = left.trim_end_matches('/').split(['/', ' ']);
    let mut right = right.trim_end_matches('/').split(['/', ' ']);
    loop {
        match (left.next(), right.next()) {
            (None, None) => return true,
            (Some(l), Some(r)) if l.eq_ignore_ascii_case(r) || (is_parameter(l) && is_parameter(r)) => {}
            _ => return false,
        }
    }
}

fn is_parameter(part: &str) -> bool {
    part.starts_with(':')
        || (part.starts_with('{') && part.ends_with('}'))
        || (part.starts_with('<') && part.ends_with('>'))
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.metric {
            GoalMetric::Quantile(q) => format!("p{}", trim(q * 100.0)),
            GoalMetric::Mean => "mean".to_owned(),
            GoalMetric::Errors => "errors".to_owned(),
            GoalMetric::Rate => "rate".to_owned(),
            GoalMetric::Cpu => "cpu".to_owned(),
            GoalMetric::Memory => "memory".to_owned(),
            GoalMetric::Lcp => "lcp".to_owned(),
        };
        let sign = if self.relation == Relation::Below { '<' } else { '>' };
        let limit = match self.metric {
            GoalMetric::Quantile(_) | GoalMetric::Mean | GoalMetric::Lcp => {
                format!("{} ms", trim(self.limit))
            }
            GoalMetric::Rate => format!("{}/s", trim(self.limit)),
            _ => format!("{} %", trim(self.limit * 100.0)),
        };
        write!(f, "{name}({}) {sign} {limit}", self.subject)
    }
}

/// A number with at most three decimals and no trailing zeros.
fn trim(number: f64) -> String {
    let text = format!("{number:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goals_are_read_and_written_back() {
        for text in [
            "p95(GET /orders) < 250 ms",
            "p99.9(GET /orders/{id}) < 2500 ms",
            "errors(*) < 1 %",
            "cpu(database) < 60 %",
            "rate(POST /orders) > 200/s",
            "p50(GET /items(1)) < 2 ms",
            "lcp(/) < 2500 ms",
        ] {
            assert_eq!(text.parse::<Goal>().map(|g| g.to_string()), Ok(text.to_owned()));
        }
        assert_eq!("p95(x)<=2.5s".parse::<Goal>().map(|g| g.limit), Ok(2500.0));
    }

    #[test]
    fn what_is_no_goal_says_which_part_is_wrong() {
        for (text, part) in [
            ("p95 GET /orders < 250 ms", "no `(`"),
            ("p95() < 250 ms", "nothing between"),
            ("p950(GET /) < 1 ms", "percentile"),
            ("latency(GET /) < 1 ms", "unknown metric"),
            ("p95(GET /) = 1 ms", "no `<` or `>`"),
            ("p95(GET /) < fast", "no number"),
            ("p95(GET /) < 250", "unit ``"),
            ("errors(GET /) < 1 ms", "expected %"),
            ("", "no `(`"),
            (")(", "no `)`"),
        ] {
            let error = text.parse::<Goal>().expect_err(text).to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn a_path_parameter_matches_whatever_it_is_called() {
        let goal: Goal = "p95(GET /orders/{id}) < 1 ms".parse().expect("a goal");
        assert!(goal.concerns("GET /orders/:order_id"));
        assert!(goal.concerns("get /orders/<int:id>"));
        assert!(!goal.concerns("GET /orders/7"));
        assert!(!goal.concerns("GET /orders"));
    }
}
