//! The words of frameworks for what a remedy asks: told by the scope (instrumentation library) of a call or of the
//! spans around it. Without a known scope there are no such words, and the generic text stands alone.

use crate::facts::Facts;
use crate::tree::{NONE, NodeId};
use model::{Remedy, RemedyKind};

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::rules) enum Advice {
    /// Related rows with the first query.
    EagerLoad,
    /// Many rows in one statement.
    BulkInsert,
    /// Fewer columns and rows.
    Narrow,
    /// Connections that are kept, and how many.
    Pool,
}

/// One framework's words.
struct Framework {
    /// Parts of a scope's name, lower case.
    scopes: &'static [&'static str],
    name: &'static str,
    eager: &'static str,
    bulk: &'static str,
    narrow: &'static str,
    pool: &'static str,
}

/// More telling names come first: a mapper before the driver that it speaks through.
const TABLE: &[Framework] = &[
    Framework {
        scopes: &["sqlalchemy"],
        name: "SQLAlchemy",
        eager: "`selectinload(Parent.children)` in the query's options",
        bulk: "`session.execute(insert(Model), rows)`",
        narrow: "`load_only(Model.a, Model.b)` and `.limit(n)`",
        pool: "`create_engine(url, pool_size=n, max_overflow=m)`, one engine a process",
    },
    Framework {
        scopes: &["django"],
        name: "Django",
        eager: "`select_related` for one, `prefetch_related` for many",
        bulk: "`Model.objects.bulk_create(rows)`",
        narrow: r#"`.values("a", "b")` or `.only(...)`, and a slice"#,
        pool: r#"`CONN_MAX_AGE`, or `"pool": True` in OPTIONS (5.1 with psycopg)"#,
    },
    Framework {
        scopes: &["active_record", "activerecord", "rails"],
        name: "Rails",
        eager: "`includes(:children)`; `strict_loading` finds the rest",
        bulk: "`Model.insert_all(rows)`",
        narrow: "`select(:a, :b)` or `pluck`, and `limit(n)`",
        pool: "`pool:` in database.yml, at least one for each thread",
    },
    Framework {
        scopes: &["prisma"],
        name: "Prisma",
        eager: r#"`include: { children: true }`, or `relationLoadStrategy: "join"`"#,
        bulk: "`createMany({ data })`",
        narrow: "`select: { a: true }` and `take: n`",
        pool: "one client a process; `connection_limit` and `pool_timeout` in the URL",
    },
    Framework {
        scopes: &["typeorm"],
        name: "TypeORM",
        eager: "`relations: { children: true }` or `leftJoinAndSelect`",
        bulk: "`repository.insert(rows)`",
        narrow: "`select: { a: true }` and `take: n`",
        pool: "one DataSource; `extra: { max: n }`",
    },
    Framework {
        scopes: &["sequelize"],
        name: "Sequelize",
        eager: "`include: [Child]`",
        bulk: "`Model.bulkCreate(rows)`",
        narrow: r#"`attributes: ["a"]` and `limit: n`"#,
        pool: "`pool: { max: n }`, one instance a process",
    },
    Framework {
        scopes: &["mongoose"],
        name: "Mongoose",
        eager: "one `find({ _id: { $in: ids } })`, or `populate`",
        bulk: "`Model.insertMany(rows)`",
        narrow: r#"`.select("a b").lean()` and `.limit(n)`"#,
        pool: "`maxPoolSize`, one connection object a process",
    },
    Framework {
        scopes: &["hibernate"],
        name: "Hibernate",
        eager: "`JOIN FETCH`, `@EntityGraph`, or `@BatchSize(size = 100)`",
        bulk: "`hibernate.jdbc.batch_size = 50` with sequence ids",
        narrow: "a projection (`select new Dto(...)`) and `setMaxResults(n)`",
        pool: "HikariCP's `maximumPoolSize`; open-in-view off",
    },
    Framework {
        scopes: &["spring-data"],
        name: "Spring Data",
        eager: "`@EntityGraph` or `JOIN FETCH` on the query",
        bulk: "`saveAll` with `hibernate.jdbc.batch_size = 50`",
        narrow: "an interface projection and a `Pageable`",
        pool: "`spring.datasource.hikari.maximum-pool-size`; `spring.jpa.open-in-view=false`",
    },
    Framework {
        scopes: &["entityframework"],
        name: "EF Core",
        eager: "`.Include(p => p.Children)`, with `.AsSplitQuery()` for several",
        bulk: "`AddRange` and one `SaveChanges`",
        narrow: "`.Select(p => new { p.A })`, `.Take(n)` and `.AsNoTracking()`",
        pool: "`Maximum Pool Size` in the connection string",
    },
    Framework {
        scopes: &["gorm"],
        name: "GORM",
        eager: r#"`Preload("Children")` or `Joins`"#,
        bulk: "`CreateInBatches(rows, 100)`",
        narrow: r#"`.Select("a", "b").Limit(n)`"#,
        pool: "`SetMaxOpenConns` and as many `SetMaxIdleConns`",
    },
    Framework {
        scopes: &["laravel"],
        name: "Laravel",
        eager: "`with('children')`; `Model::preventLazyLoading()` finds the rest",
        bulk: "`Model::insert($rows)`",
        narrow: "`->select('a')` with `paginate` or `cursorPaginate`",
        pool: "`PDO::ATTR_PERSISTENT`, or pgbouncer before the database",
    },
    Framework {
        scopes: &["doctrine"],
        name: "Doctrine",
        eager: "a fetch join (`addSelect`), or `fetch: EAGER` with batches",
        bulk: "one `flush()` for all",
        narrow: "`SELECT NEW Dto(...)` and `setMaxResults(n)`",
        pool: "persistent connections, or pgbouncer before the database",
    },
    Framework {
        scopes: &["diesel"],
        name: "Diesel",
        eager: "`Child::belonging_to(&parents)` with `grouped_by(&parents)`",
        bulk: "`insert_into(table).values(&rows)`",
        narrow: "`.select((a, b))` or `Selectable`, and `.limit(n)`",
        pool: "`r2d2` or `deadpool` with `max_size`",
    },
    Framework {
        scopes: &["sqlx"],
        name: "sqlx",
        eager: "`WHERE key = ANY($1)` with all keys bound as one array",
        bulk: "`INSERT ... SELECT * FROM unnest($1, $2)` or `push_values`",
        narrow: "name the columns, and LIMIT with the last key",
        pool: "`PgPoolOptions::max_connections`, one pool a process",
    },
    Framework {
        scopes: &["psycopg"],
        name: "psycopg",
        eager: "`WHERE key = ANY(%s)` with a list",
        bulk: "`executemany` or `copy`",
        narrow: "name the columns, and LIMIT with the last key",
        pool: "`psycopg_pool.ConnectionPool(max_size=n)`",
    },
    Framework {
        scopes: &["asyncpg"],
        name: "asyncpg",
        eager: "`WHERE key = ANY($1)` with a list",
        bulk: "`executemany` or `copy_records_to_table`",
        narrow: "name the columns, and LIMIT with the last key",
        pool: "`asyncpg.create_pool(max_size=n)` at start",
    },
    Framework {
        scopes: &["instrumentation-pg"],
        name: "node-postgres",
        eager: "`WHERE key = ANY($1)` with an array",
        bulk: "`INSERT ... SELECT * FROM unnest($1, $2)`",
        narrow: "name the columns, and LIMIT with the last key",
        pool: "one `new Pool({ max: n })` a process, not a `Client` a request",
    },
    Framework {
        scopes: &["pgx"],
        name: "pgx",
        eager: "`WHERE key = ANY($1)` with a slice",
        bulk: "`CopyFrom`, or a `Batch`",
        narrow: "name the columns, and LIMIT with the last key",
        pool: "`pgxpool` with `MaxConns`",
    },
];

/// A remedy in code: the framework's own words first, where its scope is near one of the calls, then the generic ones.
pub(in crate::rules) fn remedies(
    facts: &Facts<'_>,
    nodes: &[NodeId],
    asked: Advice,
    generic: &str,
) -> Vec<Remedy> {
    let own = nodes.first().and_then(|node| advice(facts, *node, asked));
    let texts = own.into_iter().chain([generic.to_owned()]);
    texts.map(|text| Remedy { kind: RemedyKind::Code, text, patch: None, undo: None }).collect()
}

/// Spans above a call that are asked for their scope.
const MAX_ABOVE: usize = 8;

/// The framework's own words: `SQLAlchemy: ...`. `None` where no known scope is near the call.
fn advice(facts: &Facts<'_>, node: NodeId, advice: Advice) -> Option<String> {
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
    let framework = TABLE.get(found)?;
    let text = match advice {
        Advice::EagerLoad => framework.eager,
        Advice::BulkInsert => framework.bulk,
        Advice::Narrow => framework.narrow,
        Advice::Pool => framework.pool,
    };
    Some(format!("{}: {text}", framework.name))
}

fn position(scope: &str) -> Option<usize> {
    if scope.is_empty() {
        return None;
    }
    let scope = scope.to_ascii_lowercase();
    TABLE.iter().position(|row| row.scopes.iter().any(|part| scope.contains(part)))
}

#[cfg(test)]
mod tests {
    use super::position;

    #[test]
    fn scopes_of_all_spellings_name_their_framework() {
        let name = |scope| position(scope).map(|at| super::TABLE[at].name);
        assert_eq!(name("opentelemetry.instrumentation.sqlalchemy"), Some("SQLAlchemy"));
        assert_eq!(name("OpenTelemetry.Instrumentation.EntityFrameworkCore"), Some("EF Core"));
        assert_eq!(name("@opentelemetry/instrumentation-pg"), Some("node-postgres"));
        assert_eq!(name("OpenTelemetry::Instrumentation::ActiveRecord"), Some("Rails"));
        assert_eq!(name("diesel-tracing"), Some("Diesel"));
        assert_eq!(name("io.opentelemetry.jdbc"), None);
        assert_eq!(name(""), None);
    }
}
