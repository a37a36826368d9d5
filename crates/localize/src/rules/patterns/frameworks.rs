//! The words of frameworks for what a remedy asks: told by the scope (instrumentation library) of a call or of the
//! spans around it. Without a known scope there are no such words, and the generic text stands alone.

use crate::facts::Facts;
use crate::tree::{NONE, NodeId};

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::rules) enum Advice {
    /// Related rows with the first query.
    EagerLoad,
    /// Many rows in one statement.
    BulkInsert,
}

/// Part of a scope's name, lower case; the framework; eager loading; bulk writing. More telling names come first.
const TABLE: &[(&str, &str, &str, &str)] = &[
    (
        "sqlalchemy",
        "SQLAlchemy",
        "`selectinload(Parent.children)` in the query's options",
        "`session.execute(insert(Model), rows)`",
    ),
    (
        "django",
        "Django",
        "`select_related` for one, `prefetch_related` for many",
        "`Model.objects.bulk_create(rows)`",
    ),
    (
        "active_record",
        "Rails",
        "`includes(:children)`; `strict_loading` finds the rest",
        "`Model.insert_all(rows)`",
    ),
    (
        "activerecord",
        "Rails",
        "`includes(:children)`; `strict_loading` finds the rest",
        "`Model.insert_all(rows)`",
    ),
    ("rails", "Rails", "`includes(:children)`; `strict_loading` finds the rest", "`Model.insert_all(rows)`"),
    (
        "prisma",
        "Prisma",
        "`include: { children: true }`, or `relationLoadStrategy: \"join\"`",
        "`createMany({ data })`",
    ),
    (
        "typeorm",
        "TypeORM",
        "`relations: { children: true }` or `leftJoinAndSelect`",
        "`repository.insert(rows)`",
    ),
    ("sequelize", "Sequelize", "`include: [Child]`", "`Model.bulkCreate(rows)`"),
    ("mongoose", "Mongoose", "one `find({ _id: { $in: ids } })`, or `populate`", "`Model.insertMany(rows)`"),
    (
        "hibernate",
        "Hibernate",
        "`JOIN FETCH`, `@EntityGraph`, or `@BatchSize(size = 100)`",
        "`hibernate.jdbc.batch_size = 50` with sequence ids",
    ),
    (
        "spring-data",
        "Spring Data",
        "`@EntityGraph` or `JOIN FETCH` on the query",
        "`saveAll` with `hibernate.jdbc.batch_size = 50`",
    ),
    (
        "entityframework",
        "EF Core",
        "`.Include(p => p.Children)`, with `.AsSplitQuery()` for several",
        "`AddRange` and one `SaveChanges`",
    ),
    ("gorm", "GORM", "`Preload(\"Children\")` or `Joins`", "`CreateInBatches(rows, 100)`"),
    (
        "laravel",
        "Laravel",
        "`with('children')`; `Model::preventLazyLoading()` finds the rest",
        "`Model::insert($rows)`",
    ),
    (
        "doctrine",
        "Doctrine",
        "a fetch join (`addSelect`), or `fetch: EAGER` with batches",
        "one `flush()` for all",
    ),
    (
        "sqlx",
        "sqlx",
        "`WHERE key = ANY($1)` with all keys bound as one array",
        "`INSERT ... SELECT * FROM unnest($1, $2)` or `push_values`",
    ),
    ("psycopg", "psycopg", "`WHERE key = ANY(%s)` with a list", "`executemany` or `copy`"),
    ("asyncpg", "asyncpg", "`WHERE key = ANY($1)` with a list", "`executemany` or `copy_records_to_table`"),
    (
        "instrumentation-pg",
        "node-postgres",
        "`WHERE key = ANY($1)` with an array",
        "`INSERT ... SELECT * FROM unnest($1, $2)`",
    ),
    ("pgx", "pgx", "`WHERE key = ANY($1)` with a slice", "`CopyFrom`, or a `Batch`"),
];

/// Spans above a call that are asked for their scope.
const MAX_ABOVE: usize = 8;

/// The framework's own words: `SQLAlchemy: ...`. `None` where no known scope is near the call.
pub(in crate::rules) fn advice(facts: &Facts<'_>, node: NodeId, advice: Advice) -> Option<String> {
    let mut at = node;
    let mut found = usize::MAX;
    // A mapper speaks through a driver: of several, the one named first in the table knows best.
    for _ in 0..MAX_ABOVE {
        if at == NONE {
            break;
        }
        let spans = &facts.recording.spans;
        let scope = spans.scopes.get(facts.node(at).row as usize).map_or("", |s| spans.strings.get(*s));
        found = found.min(position(scope).unwrap_or(usize::MAX));
        at = facts.node(at).parent;
    }
    let (_, name, eager, bulk) = TABLE.get(found)?;
    let text = match advice {
        Advice::EagerLoad => eager,
        Advice::BulkInsert => bulk,
    };
    Some(format!("{name}: {text}"))
}

fn position(scope: &str) -> Option<usize> {
    if scope.is_empty() {
        return None;
    }
    let scope = scope.to_ascii_lowercase();
    TABLE.iter().position(|row| scope.contains(row.0))
}

#[cfg(test)]
mod tests {
    use super::position;

    #[test]
    fn scopes_of_all_spellings_name_their_framework() {
        let name = |scope| position(scope).map(|at| super::TABLE[at].1);
        assert_eq!(name("opentelemetry.instrumentation.sqlalchemy"), Some("SQLAlchemy"));
        assert_eq!(name("OpenTelemetry.Instrumentation.EntityFrameworkCore"), Some("EF Core"));
        assert_eq!(name("@opentelemetry/instrumentation-pg"), Some("node-postgres"));
        assert_eq!(name("io.opentelemetry.jdbc"), None);
        assert_eq!(name(""), None);
    }
}
