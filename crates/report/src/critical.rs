//! The critical path of one trace: at each moment the one span that the request waits for.
//! From the end backwards: the child that ended last held its parent up, before it the one that ended last before
//! its start, and so on (Böhme et al., "Identifying the Root Causes of Wait States", as Jaeger draws it).

/// A span for this purpose: milliseconds from any origin, the indexes of its children.
pub(crate) struct Timed {
    pub(crate) start_ms: f64,
    pub(crate) end_ms: f64,
    pub(crate) children: Vec<usize>,
}

/// A child may overrun its parent by this share of the parent before it counts as not waited for.
const OVERRUN: f64 = 0.01;

/// For each span the stretches (start, end) of the path that are its own, in order of time. They cover `root` once.
pub(crate) fn path(spans: &[Timed], root: usize) -> Vec<Vec<(f64, f64)>> {
    let mut own: Vec<Vec<(f64, f64)>> = vec![Vec::new(); spans.len()];
    // (span, from, to): the part of it that is on the path.
    let mut open = vec![(root, spans[root].start_ms, spans[root].end_ms)];
    while let Some((at, from, to)) = open.pop() {
        let slack = (spans[at].end_ms - spans[at].start_ms).max(0.0) * OVERRUN;
        let mut children: Vec<usize> = spans[at].children.clone();
        children.sort_by(|&a, &b| {
            let (a, b) = (&spans[a], &spans[b]);
            b.end_ms.total_cmp(&a.end_ms).then(b.start_ms.total_cmp(&a.start_ms))
        });
        let mut cursor = to;
        for child in children {
            let (start, end) = (spans[child].start_ms.max(from), spans[child].end_ms);
            if end > spans[at].end_ms + slack || start >= cursor || end <= from || end <= start {
                continue;
            }
            // One that still runs at the cursor was not what ended last before it, unless the cursor is the end.
            if end > cursor + slack {
                continue;
            }
            let end = end.min(cursor);
            if cursor > end {
                own[at].push((end, cursor));
            }
            open.push((child, start, end));
            cursor = start;
        }
        if cursor > from {
            own[at].push((from, cursor));
        }
    }
    for stretches in &mut own {
        stretches.sort_by(|a, b| a.0.total_cmp(&b.0));
    }
    own
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(start_ms: f64, end_ms: f64, children: &[usize]) -> Timed {
        Timed { start_ms, end_ms, children: children.to_vec() }
    }

    #[test]
    fn of_two_parallel_children_the_later_one_is_waited_for() {
        let spans = [span(0.0, 100.0, &[1, 2]), span(10.0, 60.0, &[]), span(10.0, 90.0, &[])];
        let own = path(&spans, 0);
        assert_eq!(own, [vec![(0.0, 10.0), (90.0, 100.0)], vec![], vec![(10.0, 90.0)]]);
    }

    #[test]
    fn serial_children_are_all_on_it() {
        let spans = [span(0.0, 50.0, &[1, 2]), span(0.0, 20.0, &[]), span(20.0, 50.0, &[])];
        assert_eq!(path(&spans, 0), [vec![], vec![(0.0, 20.0)], vec![(20.0, 50.0)]]);
    }

    #[test]
    fn what_outlives_its_parent_is_not_waited_for() {
        let spans = [span(0.0, 10.0, &[1]), span(5.0, 80.0, &[])];
        assert_eq!(path(&spans, 0), [vec![(0.0, 10.0)], vec![]]);
    }

    #[test]
    fn the_path_covers_the_root_exactly() {
        let spans = [
            span(0.0, 100.0, &[1, 2, 3]),
            span(5.0, 40.0, &[4]),
            span(30.0, 70.0, &[]),
            span(65.0, 99.0, &[]),
            span(6.0, 39.0, &[]),
        ];
        let total: f64 = path(&spans, 0).iter().flatten().map(|s| s.1 - s.0).sum();
        assert!((total - 100.0).abs() < 1e-9, "{total}");
    }
}
