//! Where unqualified names of the service's statements may be meant: in schemas that this connection's search path does
//! not hold. It asks the catalog and opens a connection of its own, so that no session behind a pooler is changed.

use crate::connect::Database;
use model::Gap;
use tokio_postgres::{Client, Error};

/// Schemas in a path: those of a thousand tenants look alike.
const MAX_SCHEMAS: i64 = 64;

/// Search paths set for this database or for roles, those for this database first.
const SETTINGS: &str = "
SELECT /* trimtab_look */ substr(c, length('search_path=') + 1)
  FROM pg_db_role_setting s CROSS JOIN unnest(s.setconfig) c
 WHERE c LIKE 'search_path=%'
   AND s.setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))
 ORDER BY s.setdatabase = 0, s.setrole, 1";

/// Schemas that may be used: those of this path first, then the largest; those that hold nothing but an extension last.
const SCHEMAS: &str = "
SELECT /* trimtab_look */ n.nspname::text
  FROM pg_namespace n LEFT JOIN pg_class c ON c.relnamespace = n.oid AND c.relkind IN ('r', 'p', 'm', 'v', 'f')
 WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' AND has_schema_privilege(n.oid, 'USAGE')
 GROUP BY n.nspname
HAVING count(c.oid) > 0 OR EXISTS (SELECT FROM pg_extension e WHERE e.extnamespace = min(n.oid::int8)::oid)
 ORDER BY array_position(current_schemas(false), n.nspname) NULLS LAST, sum(c.relpages) DESC NULLS LAST, 1 LIMIT $1";

/// A connection that finds the names of all schemas; `None` if there are no others, or the server (a pooler) takes none
/// with such an option.
pub(crate) async fn wider(database: &Database, client: &Client, gaps: &mut Vec<Gap>) -> Option<Client> {
    let schemas = schemas(client).await.ok()?;
    let known: Vec<String> = client
        .query_one("SELECT current_schemas(false)::text[] /* trimtab_look */", &[])
        .await
        .and_then(|row| row.try_get(0))
        .unwrap_or_default();
    if schemas.iter().all(|s| known.contains(s)) {
        return None;
    }
    let client = database.beside_within(&schemas).await.ok()?;
    gaps.push(Gap::new(
        "plans",
        format!(
            "statements name tables without their schema: they were looked for in {}, in this order",
            schemas.join(", ")
        ),
        "where several schemas have a table of that name, connect with the service's search path: `?options=-csearch_path%3Done,other`",
    ));
    Some(client)
}

async fn schemas(client: &Client) -> Result<Vec<String>, Error> {
    let mut all: Vec<String> = Vec::new();
    for row in client.query(SCHEMAS, &[&MAX_SCHEMAS]).await? {
        all.push(row.try_get(0)?);
    }
    let mut set: Vec<String> = Vec::new();
    for row in client.query(SETTINGS, &[]).await? {
        set.extend(names(row.try_get(0)?));
    }
    Ok(ordered(&set, all))
}

/// The names of a setting as the catalog keeps it: `"$user", public`.
fn names(path: &str) -> impl Iterator<Item = String> {
    path.split(',').map(|name| name.trim().trim_matches('"').replace("\"\"", "\""))
}

/// Those that are set somewhere first, in the order in which they are set.
fn ordered(set: &[String], mut all: Vec<String>) -> Vec<String> {
    all.sort_by_key(|name| set.iter().position(|s| s == name).unwrap_or(set.len()));
    all
}

#[cfg(test)]
mod tests {
    use super::{names, ordered};

    #[test]
    fn schemas_that_are_set_come_first() {
        let set: Vec<String> = names("\"$user\", \"My App\", public").collect();
        assert_eq!(set, ["$user", "My App", "public"]);
        let all = ["big", "public", "My App", "small"].map(str::to_owned).to_vec();
        assert_eq!(ordered(&set, all), ["My App", "public", "big", "small"]);
    }
}
